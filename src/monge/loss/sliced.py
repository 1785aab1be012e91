"""The sliced Wasserstein distance as a module."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from monge.sliced import sliced_wasserstein

from .loss import Loss

__all__ = ["SlicedLoss"]


class SlicedLoss(Loss):
    r"""The p-th power of the sliced Wasserstein distance, over new random directions at every call.

    $$SW_p^p(\mu, \nu) = \mathbb{E}_{\theta \sim S^{d-1}} W_p^p(\langle\theta, \cdot\rangle_\# \mu,
    \langle\theta, \cdot\rangle_\# \nu)$$
    Every slice is solved exactly, by sorting; the memory does not depend on their number. The mean over directions is
    unbiased, and so is its gradient.

    Args:
        p: Order, at least 1.
        slices: How many directions a call draws.
        kind: Law of the directions, see `monge.sliced.directions`.
        scale: A factor of the loss, as in `monge.sliced.sliced_wasserstein`; ``"dimension"`` makes clouds of different
            dimension comparable.
        generator: Source of the directions, which moves on at every call; torch's default generator if None. Two
            losses with generators of one seed draw the same directions.
        reduction: As in `Loss`.

    Raises:
        InputError: If ``reduction`` is unknown; and when it is called, as `monge.sliced.sliced_wasserstein`.

    Example:
        >>> import torch
        >>> from monge.loss import SlicedLoss
        >>> loss = SlicedLoss(slices=3, generator=torch.Generator().manual_seed(0))
        >>> round(float(loss(torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 0.0]]))), 4)  # |x - y|^2 / d
        1.3333

    Source: Bonneel, Rabin, Peyre, Pfister, Sliced and Radon Wasserstein barycenters of measures (2015).
    """

    _told: ClassVar[tuple[str, ...]] = ("p", "slices", "kind", "scale")

    def __init__(
        self,
        p: float = 2.0,
        slices: int = 128,
        *,
        kind: str = "orthogonal",
        scale: str | float | None = None,
        generator: torch.Generator | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.p, self.slices, self.kind, self.scale, self.generator = p, slices, kind, scale, generator

    def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        options = {"p": self.p, "slices": self.slices, "kind": self.kind, "scale": self.scale}
        return sliced_wasserstein(x, y, a, b, **options, generator=self.generator).cost
