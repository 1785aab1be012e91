"""The smooth adversarial form of the losses, as a function and as a module."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from monge.errors import InputError

from .ascent import Ascent
from .loss import check_order, check_reduction, comp_sum_loss

__all__ = ["AdversarialCompSumLoss", "adversarial_comp_sum_loss"]


def adversarial_comp_sum_loss(
    network: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "n *shape"],
    labels: Integer[Tensor, "n"],
    order: float = 1.0,
    *,
    ascent: Ascent,
    price: float = 1.0,
    margin: float = 1.0,
    reduction: str = "mean",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*n"]:
    r"""A comp-sum loss, plus a price on how far the scores can be moved by moving the input a little.

    With the scores $h$ of the network and their differences $\Delta_k(x) = h_y(x) - h_k(x)$ to the score of the label,
    $$\ell_\tau(h(x) / \rho, y) + \nu \max_{\lVert x' - x\rVert \le r} \lVert\Delta(x') - \Delta(x)\rVert_2.$$
    The first term is a smooth loss of the sample as it is; the second is small where no point nearby is treated
    otherwise, whatever the label. The maximum is sought by `Ascent`, and its derivative is the one at the point found.

    Args:
        network: From inputs (N, ...) to scores (N, C). It is called ``ascent.steps + 3`` times, so that layers which
            watch their inputs, such as batch normalisation, see moved inputs too.
        inputs: Samples (N, ...).
        labels: Indices of classes (N,).
        order: $\tau$ of `comp_sum_loss`.
        ascent: The ball, its radius $r$ and its norm, and how the maximum is sought.
        price: $\nu$, of one unit of score.
        margin: $\rho$, in units of score: by how much the label should win.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        generator: Source of the first points of the ascent.

    Returns:
        The loss: a number, or (N,) if ``reduction`` is ``"none"``.

    Raises:
        InputError: ``price`` or ``margin`` is outside its range, or a setting of `comp_sum_loss` is.

    Example:
        >>> network, x, y = torch.nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
        >>> loss = adversarial_comp_sum_loss(network, x, y, ascent=Ascent(radius=0.1))
        >>> loss.backward()
        >>> bool(loss > comp_sum_loss(network(x), y))
        True

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """
    _check_prices(price, margin)
    scores = network(inputs)
    fixed = scores.detach()
    far = ascent.worst(lambda moved: _moved_by(network(moved), fixed, labels), inputs, generator=generator)
    losses = comp_sum_loss(scores / margin, labels, order, reduction="none")
    losses = losses + price * _moved_by(network(far), scores, labels)
    return losses if reduction == "none" else getattr(losses, reduction)()


class AdversarialCompSumLoss(nn.Module):
    r"""`adversarial_comp_sum_loss` as a module: it is called with the network, the inputs and the labels.

    Args:
        order: $\tau$ of `comp_sum_loss`; 1 is cross-entropy.
        ascent: The ball, its radius and its norm, and how the maximum is sought.
        price: $\nu$, of one unit of score.
        margin: $\rho$, in units of score.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        InputError: A setting is outside its range.

    Example:
        >>> loss = AdversarialCompSumLoss(ascent=Ascent(radius=0.1), price=2.0)
        >>> network, x, y = torch.nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
        >>> loss(network, x, y).shape
        torch.Size([])

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """

    def __init__(
        self,
        order: float = 1.0,
        *,
        ascent: Ascent,
        price: float = 1.0,
        margin: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_order(order)
        check_reduction(reduction)
        _check_prices(price, margin)
        self.settings = {"order": order, "ascent": ascent, "price": price, "margin": margin, "reduction": reduction}

    def forward(
        self,
        network: Callable[[Tensor], Tensor],
        inputs: Float[Tensor, "n *shape"],
        labels: Integer[Tensor, "n"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "*n"]:
        """The loss of samples (N, ...) and labels (N,), as in `adversarial_comp_sum_loss`."""
        return adversarial_comp_sum_loss(network, inputs, labels, generator=generator, **self.settings)

    def extra_repr(self) -> str:
        """The settings, as they are passed."""
        return ", ".join(f"{name}={held!r}" for name, held in self.settings.items())


def _moved_by(scores: Tensor, fixed: Tensor, labels: Tensor) -> Tensor:
    """By how much the differences to the score of the label differ between two points: the Euclidean norm."""
    moved = scores - fixed
    return torch.linalg.vector_norm(moved.gather(1, labels.unsqueeze(1)) - moved, dim=1)


def _check_prices(price: float, margin: float) -> None:
    if not 0 <= price < math.inf:
        raise InputError(f"price must lie in [0, inf), but is {price!r}: 0 leaves the plain loss.")
    if not 0 < margin < math.inf:
        raise InputError(f"margin must lie in (0, inf), but is {margin!r}: 1 leaves the scores as they are.")
