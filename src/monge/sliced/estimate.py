"""A sliced distance as what it is: the mean of a sample, with its standard error."""

from __future__ import annotations

import math
from dataclasses import field

import torch
from jaxtyping import Float
from torch import Tensor

from monge._batch import broadcast_shapes
from monge._checks import check_points, check_same, check_weights
from monge._value import Value, value
from monge.errors import ShapeError

from ._mean import mean_over_slices
from .line import Balanced, LineProblem
from .slicer import Slicer

__all__ = ["Estimate", "estimate"]


@value
class Estimate(Value):
    """The mean cost over slices and how far to trust it.

    Args:
        cost: (*b,) mean over slices of the p-th powers, differentiable.
        slices: (*b, L) the p-th power on every slice, without gradient.
        block: How many consecutive slices were drawn together (one orthogonal basis); blocks are independent.
        p: The order.
    """

    cost: Float[Tensor, "*b"]
    slices: Float[Tensor, "*b slices"]
    block: int = 1
    p: float = field(default=2.0)

    @property
    def distance(self) -> Float[Tensor, "*b"]:
        """The p-th root of the cost; at zero, where the root has no slope, its gradient is zero."""
        safe = torch.where(self.cost > 0, self.cost, torch.ones_like(self.cost))
        return torch.where(self.cost > 0, safe ** (1 / self.p), torch.zeros_like(self.cost))

    @property
    def standard_error(self) -> Float[Tensor, "*b"]:
        """Standard deviation of ``cost`` over redraws of the slices, estimated from this one draw.

        Slices of one orthogonal basis repel each other. With eight bases or more, their means are the sample; with
        fewer the slices count as independent, which errs on the side of caution.
        """
        sample = self.slices
        whole = sample.shape[-1] // self.block
        if self.block > 1 and whole >= 8:
            sample = sample[..., : whole * self.block].unflatten(-1, (whole, self.block)).mean(-1)
        if sample.shape[-1] < 2:
            return torch.full_like(self.cost.detach(), math.inf)
        return sample.std(-1) / math.sqrt(sample.shape[-1])


def estimate(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    line: LineProblem | None = None,
    weights: Float[Tensor, "*b slices"] | None = None,
    block: int = 1,
) -> Estimate:
    """The mean over the slices of ``slicer`` of the problem ``line``: every sliced distance is one such choice.

    Value and gradient are gathered in one pass over chunks of slices, in memory that does not grow with their number.
    The gradient reaches points and weights; parameters of the slicer are constants here (see `maximise` for learning
    them).

    Args:
        x: First clouds.
        y: Second clouds, in the same space.
        a: Non-negative weights of `x`, equal if None.
        b: The same for `y`.
        slicer: The scalar coordinates.
        line: The one-dimensional problem; `Balanced(2)` if None.
        weights: Of the slices, instead of the plain mean; constants.
        block: Slices drawn together, for the standard error.

    Returns:
        The estimate: its ``cost`` (p-th power), its ``distance`` (rooted), its ``standard_error``.

    Raises:
        ShapeError: Clouds of different dimension or batch.

    Example:
        >>> import torch
        >>> from monge.sliced import Linear, estimate
        >>> x = torch.tensor([[0.0, 0.0]]); y = torch.tensor([[3.0, 4.0]])
        >>> estimate(x, y, slicer=Linear(torch.eye(2))).cost  # the mean of 9 and 16
        tensor(12.5000)
    """
    check_points("x", x)
    check_points("y", y)
    check_same(x=x, y=y, a=a, b=b)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"x and y must live in one space, but have dimension {x.shape[-1]} and {y.shape[-1]}.")
    for name, weight, points in (("a", a, x), ("b", b, y)):
        if weight is not None:
            check_weights(name, weight, points.shape[-2])
    return _estimate(x, y, a, b, slicer, Balanced() if line is None else line, weights, block)


def _estimate(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    slicer: Slicer,
    line: LineProblem,
    weights: Tensor | None = None,
    block: int = 1,
) -> Estimate:
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2], *(w.shape[:-1] for w in (a, b) if w is not None))
    x, y = (points.expand(*batch, *points.shape[-2:]) for points in (x, y))
    a, b = (None if held is None else held.expand(*batch, held.shape[-1]) for held in (a, b))

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return line._costs(slicer._coordinates(x, chunk), slicer._coordinates(y, chunk), a, b)

    scalars = 2 * batch.numel() * (x.shape[-2] + y.shape[-2])  # coordinates and their slopes
    cost, slices = mean_over_slices(costs, slicer.count, scalars, (x, y, a, b), weights)
    return Estimate(cost, slices, block, line.p)
