"""A sliced distance as what it is: the mean of a sample, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import root
from monge._checks import check_choice, check_number
from monge._parts import parts_of
from monge._transforms import transformable
from monge._value import Value, value
from monge.errors import InputError

from ._aligned_clouds import aligned
from ._control_variates import CONTROL_VARIATES, controlled
from ._over_slices import chunks, mean, mean_over_slices, recorded
from .line import Balanced, LineProblem
from .slicer import LinearSlicer, Slicer

__all__ = ["Estimate", "estimate", "refine", "slice_costs", "visible"]


@value
class Estimate(Value):
    """The mean cost over slices and how far to trust it.

    Args:
        cost: (*b,) mean over slices of the p-th powers, differentiable.
        slices: (*b, L) the p-th power on every slice, less its control variate if there is one, without gradient.
        block: How many consecutive slices were drawn together (one orthogonal basis); blocks are independent.
        p: The order.
        weights: (*b, L) of the slices, of sum one, where the mean is not the plain one.
        gap: (*b,) by how much the cost may lie above the optimum on its slices: measured where a solver stops at a
            tolerance, as for unbalanced slices, and zero where every slice is solved exactly.
    """

    cost: Float[Tensor, "*b"]
    slices: Float[Tensor, "*b slices"]
    block: int = 1
    p: float = field(default=2.0)
    weights: Float[Tensor, "*b slices"] | None = None
    gap: Float[Tensor, "*b"] | float = 0.0

    @property
    def distance(self) -> Float[Tensor, "*b"]:
        """The p-th root of the cost; at zero, where the root has no derivative, its gradient is zero."""
        return root(self.cost, self.p)

    @property
    def standard_error(self) -> Float[Tensor, "*b"]:
        """Standard deviation of ``cost`` over redraws of the slices, estimated from this one draw.

        Slices of one orthogonal basis repel each other. With eight bases or more, their means are the sample; with
        fewer the slices count as independent, which errs on the side of caution. Of a weighted mean it is the first
        order of the ratio of two means.
        """
        sample = self.slices
        if sample.shape[-1] < 2:
            return torch.full_like(self.cost.detach(), math.inf)
        if self.weights is not None:
            return (self.weights * (sample - self.cost.detach()[..., None])).norm(dim=-1)
        whole = sample.shape[-1] // self.block
        if self.block > 1 and whole >= 8:
            sample = sample[..., : whole * self.block].unflatten(-1, (whole, self.block)).mean(-1)
        return sample.std(-1) / math.sqrt(sample.shape[-1])

    def _scaled(self, factor: Tensor) -> Estimate:
        """The same in other units."""
        return self._replace(cost=self.cost * factor, slices=self.slices * factor[..., None], gap=self.gap * factor)

    def _made_of(self, dtype: torch.dtype) -> Estimate:
        """The same in the precision of the points."""
        return self._replace(cost=self.cost.to(dtype), slices=self.slices.to(dtype))

    def _joined(self, other: Estimate) -> Estimate:
        """The estimate from the slices of both."""
        slices = torch.cat([self.slices, other.slices], -1)
        share = self.slices.shape[-1] / slices.shape[-1]
        cost, gap = (share * one + (1 - share) * two for one, two in ((self.cost, other.cost), (self.gap, other.gap)))
        return self._replace(cost=cost, slices=slices, gap=gap)


@transformable
def estimate(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    line: LineProblem | None = None,
    weights: Float[Tensor, "*b slices"] | None = None,
    control_variate: str | None = None,
    block: int = 1,
    differentiable: bool = False,
) -> Estimate:
    """The mean over the slices of ``slicer`` of the problem ``line``: every sliced distance is one such choice.

    Value and gradient are gathered in one pass over chunks of slices, in memory that does not grow with their number.
    The gradient reaches points, weights and the parameters of the slicer. Further derivatives make every chunk again;
    ``differentiable`` keeps the whole graph instead.

    Args:
        x: First clouds.
        y: Second clouds, in the same space.
        a: Non-negative weights of `x`, equal if None.
        b: The same for `y`.
        slicer: The scalar coordinates.
        line: The one-dimensional problem; `Balanced(2)` if None.
        weights: Of the slices, instead of the plain mean; constants.
        control_variate: Quadratic forms of the direction whose mean is known, to be subtracted: ``"lower"`` the square
            of the projected difference of the means, ``"upper"`` that and both projected variances in one sum,
            ``"quadratic"`` the three fitted one by one. For a `LinearSlicer` of any uniform law. Whole orthonormal
            bases integrate quadratic forms exactly: there it changes nothing.
        block: Slices drawn together, for the standard error.
        differentiable: Keep the graph of every slice, with the memory that it takes, which makes repeated derivatives
            of derivatives faster.

    Returns:
        The estimate: its ``cost`` (p-th power), its ``distance`` (rooted), its ``standard_error``.

    Raises:
        ShapeError: Clouds of different dimension or batch.
        InputError: A control variate for slices whose mean it does not know.

    Source:
        Nguyen, Ho, Sliced Wasserstein estimation with control variates (arXiv 2305.00402).

    Example:
        >>> import torch
        >>> from monge.sliced import LinearSlicer, estimate
        >>> x = torch.tensor([[0.0, 0.0]]); y = torch.tensor([[3.0, 4.0]])
        >>> estimate(x, y, slicer=LinearSlicer(torch.eye(2))).cost  # the mean of 9 and 16
        tensor(12.5000)
    """
    x, y, a, b, _ = aligned(x, y, a, b, slicer=slicer)
    line = Balanced() if line is None else line
    if control_variate is None:
        return _estimate(x, y, a, b, slicer, line, weights, block, differentiable)
    check_choice("control_variate", control_variate, CONTROL_VARIATES)
    if not isinstance(slicer, LinearSlicer) or weights is not None:
        raise InputError(
            f"control_variate={control_variate!r} needs Linear slices of a uniform law without weights, but got "
            f"{type(slicer).__name__}{' and weights' if weights is not None else ''}: leave it out."
        )
    plain = _estimate(x, y, a, b, slicer, line, None, block, differentiable)
    held = slicer._prepared(x, y)
    theta = slicer.theta.to(held[0].dtype)
    cost, slices = controlled(plain.cost, plain.slices, held, (a, b), theta, control_variate)
    return plain._replace(cost=cost, slices=slices)._made_of(x.dtype)


@transformable
def refine(draw: Callable[[int], Estimate], *, tol: float, slices: int = 128, max_slices: int = 100_000) -> Estimate:
    """More slices, twice as many each time, until the standard error is a small share of the cost.

    What was drawn before is kept: the estimate is the mean over all slices so far. It works for every distance that
    is the mean over slices, trees or frames.

    Args:
        draw: Gives the estimate from so many fresh slices; it has to draw others at every call.
        tol: The largest standard error, as a share of the cost, of every problem of the batch.
        slices: How many to start with.
        max_slices: Where to give up; the estimate tells its error anyway.

    Example:
        >>> import torch
        >>> from monge.sliced import refine, spherical_sliced_wasserstein
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = (torch.nn.functional.normalize(torch.randn(30, 3, generator=g), dim=-1) for _ in range(2))
        >>> found = refine(lambda count: spherical_sliced_wasserstein(x, y, slices=count, generator=g), tol=0.02)
        >>> bool(found.standard_error <= 0.02 * found.cost)
        True
    """
    check_number("tol", tol, low=0.0, strict=True)
    check_number("slices", slices, low=1)
    found = draw(min(slices, max_slices))
    while bool((found.standard_error > tol * found.cost.detach()).any()):
        count = found.slices.shape[-1]
        if count >= max_slices:
            break
        if found.weights is None:
            found = found._joined(draw(min(count, max_slices - count)))
        else:  # shares of one draw say nothing about another
            found = draw(min(2 * count, max_slices))
    return found


def slice_costs(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None,
    b: Float[Tensor, "*b m"] | None,
    *,
    slicer: Slicer,
    line: LineProblem,
) -> Float[Tensor, "*b slices"]:
    """The cost on every slice, in the graph of autograd; chunks of slices are made again in a backward pass."""
    x, y, a, b, _ = aligned(x, y, a, b, slicer=slicer)
    dtype, (x, y) = x.dtype, slicer._prepared(x, y)
    parts = list(chunks(slicer.count, _scalars(x, y), x.element_size()))
    return recorded(_on(slicer, line._costs), parts, (x, y, a, b), None)[1].to(dtype)


def _estimate(
    x: Tensor,
    y: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    slicer: Slicer,
    line: LineProblem,
    weights: Tensor | None = None,
    block: int = 1,
    differentiable: bool = False,
) -> Estimate:
    """The mean, for clouds and weights that are checked and of one batch."""
    dtype, (x, y), batch = x.dtype, slicer._prepared(x, y), x.shape[:-2]
    gaps: list[Tensor] = []

    def measured(u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        found, gap = line._measured(u, v, a, b)
        gaps.append(gap.flatten(len(batch)))
        return found

    costs, tensors = _on(slicer, measured), (x, y, a, b)
    if differentiable:
        slices = costs(slice(None), *tensors)
        cost = mean(slices, weights)
    else:
        cost, slices = mean_over_slices(costs, slicer.count, _scalars(x, y), tensors, weights, parts_of(slicer).tensors)
    gap = mean(torch.cat(gaps, -1).detach(), weights)
    return Estimate(cost.to(dtype), slices.detach().to(dtype), block, line.p, weights, gap)


def _scalars(x: Tensor, y: Tensor) -> int:
    """The numbers that a slice takes: coordinates and their gradients."""
    return 2 * x.shape[:-2].numel() * (x.shape[-2] + y.shape[-2])


def _on(slicer: Slicer, solve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The costs of the slices of a chunk."""

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        u, v = slicer._coordinates(x, chunk), slicer._coordinates(y, chunk)
        left, right = slicer._seen(x, chunk), slicer._seen(y, chunk)
        if left is None and right is None:
            return solve(u, v, a, b)
        # Absence differs from slice to slice: every slice is a problem of the batch.
        shares = visible(u, a, left), visible(v, b, right)
        return solve(u[..., None, :], v[..., None, :], *shares)[..., 0]

    return costs


def visible(places: Tensor, weights: Tensor | None, seen: Tensor | None) -> Tensor:
    """Weights of every slice: what has no coordinate gives its mass to the others, unless nobody has one."""
    n = places.shape[-1]
    given = torch.full_like(places, 1 / n) if weights is None else weights[..., None, :].expand(places.shape)
    if seen is None:
        return given
    kept = given * seen
    left = kept.sum(-1, keepdim=True)
    total = given.sum(-1, keepdim=True)
    return torch.where(left > 0, kept * (total / torch.where(left > 0, left, 1)), given)
