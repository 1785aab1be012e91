"""The family of losses, as a function and as a module."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from monge.errors import DtypeError, InputError, ShapeError

__all__ = ["CompSumLoss", "check_order", "check_reduction", "comp_sum_loss"]

REDUCTIONS = ("none", "mean", "sum")


def comp_sum_loss(
    scores: Float[Tensor, "..."],
    labels: Shaped[Tensor, "..."],
    order: float = 1.0,
    *,
    weight: Float[Tensor, "c"] | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[Tensor, "..."]:
    r"""Cross-entropy and its relatives, of which the order $\tau$ picks one.

    With $c = -\log \mathrm{softmax}(h)_y$, the cross-entropy of the scores $h$ and the label $y$,
    $$\ell_\tau(h, y) = \frac{e^{(1 - \tau) c} - 1}{1 - \tau}, \qquad \ell_1(h, y) = c.$$
    Order 0 is the sum of exponentials $\sum_{k \ne y} e^{h_k - h_y}$, order 1 is cross-entropy, orders between 1 and 2
    are the generalised cross-entropies $(1 - p_y^q) / q$ with $q = \tau - 1$, and order 2 is $1 - p_y$, half of the
    absolute error. The loss falls as the order grows. Above order 1 it is bounded by $1 / (\tau - 1)$, so that a wrong
    label pulls less and less the more the network doubts it.

    The cost $c$ is computed from the differences to the best score and never as the difference of two large numbers:
    it is exact to rounding where the label is nearly certain, and finite for scores of any size. Below order 1 the loss
    itself grows as $e^{(1 - \tau) c}$: where the dtype ends, in float32 from $c = 88 / (1 - \tau)$ on, it is infinite
    and its gradient is NaN.

    Args:
        scores: One score a class: (C,), (N, C) or (N, C, ...). A score of -inf rules a class out.
        labels: Indices of classes, of the shape of ``scores`` without the classes; or probabilities of classes, of the
            shape of ``scores``.
        order: $\tau \ge 0$.
        weight: Weight of each class (C,); the mean is then a weighted one.
        ignore_index: Labels of this index count nowhere.
        label_smoothing: Share in [0, 1] of every label that is spread evenly over all classes.
        reduction: ``"mean"`` over what counts, ``"sum"``, or ``"none"``.

    Returns:
        The loss in the dtype of the scores, computed in float32 at least: a number, or the shape of ``labels`` without
        classes if ``reduction`` is ``"none"``. With order 1, what ``torch.nn.functional.cross_entropy`` returns.

    Raises:
        InputError: ``order``, ``label_smoothing`` or ``reduction`` is outside its range.
        ShapeError: ``labels`` or ``weight`` do not fit ``scores``.
        DtypeError: ``scores`` are no floating-point numbers, or ``labels`` are boolean or complex.

    Example:
        >>> scores, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
        >>> comp_sum_loss(scores, labels, reduction="none")  # cross-entropy
        tensor([0.1269, 1.3133])
        >>> comp_sum_loss(scores, labels, 2.0, reduction="none")  # the probability of the other class
        tensor([0.1192, 0.7311])

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """
    _check_options(order, label_smoothing, reduction)
    axis = _check_shapes(scores, labels, weight)
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    weights = wide.new_ones(scores.shape[axis]) if weight is None else weight.to(wide)
    across = _along(axis, weights, wide)
    even = label_smoothing / len(weights)
    if labels.is_floating_point():
        losses = _expected(wide, across * ((1 - label_smoothing) * labels.to(wide) + even), axis, order)
        counted = torch.ones_like(losses)
    else:
        absent = labels == ignore_index
        chosen = labels.long().masked_fill(absent, 0)
        counted = weights[chosen].masked_fill(absent, 0)
        # What is absent leaves before the exponential, where an infinite derivative times zero would not be zero.
        costs = _costs(wide, chosen.unsqueeze(axis), axis).squeeze(axis).masked_fill(absent, 0)
        losses = (1 - label_smoothing) * counted * _of_order(costs, order)
        if label_smoothing:
            shares = (even * across).masked_fill(absent.unsqueeze(axis), 0)
            losses = losses + _expected(wide, shares, axis, order)
    return _reduced(losses, counted, reduction).to(scores.dtype)


class CompSumLoss(nn.Module):
    r"""`comp_sum_loss` as a module, in the place of ``torch.nn.CrossEntropyLoss``.

    Args:
        order: $\tau \ge 0$; 1 is cross-entropy.
        weight: Weight of each class (C,), a buffer.
        ignore_index: Labels of this index count nowhere.
        label_smoothing: Share in [0, 1] of every label that is spread evenly over all classes.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        InputError: ``order``, ``label_smoothing`` or ``reduction`` is outside its range.

    Example:
        >>> loss = CompSumLoss(1.5, label_smoothing=0.1)
        >>> loss
        CompSumLoss(order=1.5, ignore_index=-100, label_smoothing=0.1, reduction='mean')
        >>> loss(torch.eye(3), torch.arange(3))
        tensor(0.5218)

    Source: Mao, Mohri, Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and Applications, arXiv 2304.07288.
    """

    weight: Tensor | None

    def __init__(
        self,
        order: float = 1.0,
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        _check_options(order, label_smoothing, reduction)
        self.order = order
        self.register_buffer("weight", weight)
        self.options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of scores (N, C, ...) and labels, as in `comp_sum_loss`."""
        return comp_sum_loss(scores, labels, self.order, weight=self.weight, **self.options)

    def extra_repr(self) -> str:
        """The settings, as they are passed."""
        return ", ".join(f"{name}={held!r}" for name, held in {"order": self.order, **self.options}.items())


def _of_order(cost: Tensor, order: float) -> Tensor:
    """The loss of an order from the cross-entropy."""
    rest = 1 - order
    return torch.expm1(rest * cost) / rest if rest else cost


def _costs(scores: Tensor, chosen: Tensor, axis: int) -> Tensor:
    """The cross-entropy of chosen classes as if they were the label, a sum of two terms that are not negative."""
    best = scores.argmax(axis, keepdim=True)
    top = scores.gather(axis, best)
    others = (scores - top).exp().scatter(axis, best, 0).sum(axis, keepdim=True)
    # Filled where it is zero anyway: its derivatives, one and minus one, would swallow that of the other term.
    behind = (top - scores.gather(axis, chosen)).masked_fill(chosen == best, 0)
    return behind + others.log1p()


def _expected(scores: Tensor, shares: Tensor, axis: int, order: float) -> Tensor:
    """The losses of all classes times their shares; a class without a share may have an infinite loss."""
    every = _along(axis, torch.arange(scores.shape[axis], device=scores.device), scores).expand_as(scores)
    costs = _costs(scores, every, axis).masked_fill(shares == 0, 0)
    return (shares * _of_order(costs, order)).sum(axis)


def _along(axis: int, numbers: Tensor, scores: Tensor) -> Tensor:
    """Numbers of classes, along the axis of the classes of scores."""
    return numbers.reshape(-1, *(1,) * (scores.ndim - axis - 1))


def _reduced(losses: Tensor, counted: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() / counted.sum() if reduction == "mean" else losses.sum()


def check_order(order: float) -> None:
    """The order must be a finite number that is not negative."""
    if not 0 <= order < math.inf:
        raise InputError(f"order must lie in [0, inf), but is {order!r}: 1 is cross-entropy, 2 is bounded by one.")


def check_reduction(reduction: str) -> None:
    """The reduction must be one that torch knows."""
    if reduction not in REDUCTIONS:
        raise InputError(f"reduction={reduction!r} is unknown: choose one of {', '.join(map(repr, REDUCTIONS))}.")


def _check_options(order: float, label_smoothing: float, reduction: str) -> None:
    check_order(order)
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise InputError(f"label_smoothing must lie in [0, 1], but is {label_smoothing!r}: 0 smooths nothing.")


def _check_shapes(scores: Tensor, labels: Tensor, weight: Tensor | None) -> int:
    """The axis of the classes."""
    if not scores.is_floating_point():
        raise DtypeError(f"scores must be floating-point, but are {scores.dtype}: use scores.float().")
    if labels.dtype == torch.bool or labels.is_complex():
        raise DtypeError(f"labels must be indices or probabilities, but are {labels.dtype}: use labels.long().")
    axis = min(scores.ndim - 1, 1)
    if axis < 0 or scores.shape[axis] == 0:
        raise ShapeError(f"scores must have shape (C,) or (N, C, ...) with C >= 1, but have {tuple(scores.shape)}.")
    without = (*scores.shape[:axis], *scores.shape[axis + 1 :])
    fitting = scores.shape if labels.is_floating_point() else without
    if labels.shape != fitting:
        kind = "probabilities" if labels.is_floating_point() else "indices"
        raise ShapeError(
            f"labels that are {kind} must have shape {tuple(fitting)} beside scores {tuple(scores.shape)}, but have "
            f"{tuple(labels.shape)}: the classes of scores are axis {axis}."
        )
    if weight is not None and weight.shape != scores.shape[axis : axis + 1]:
        raise ShapeError(
            f"weight must have shape ({scores.shape[axis]},), one number a class, but has {tuple(weight.shape)}."
        )
    return axis
