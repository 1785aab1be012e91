"""A sliced distance as the mean of a sample, with its standard error."""

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
from monge._users_arrays import answers_in_kind, takes_arrays, with_tensors
from monge._value import Value, value
from monge.errors import InputError

from ._aligned_clouds import Clouds, aligned
from ._control_variates import CONTROL_VARIATES, controlled
from ._over_slices import chunks, mean, mean_over_slices, recorded
from .line import Balanced, LineProblem
from .slicer import LinearSlicer, Slicer

__all__ = ["Estimate", "averaged", "enough", "estimate", "refine", "slice_costs"]


@value
class Estimate(Value):
    """The mean cost over slices, and how exact it is.

    Args:
        cost: (*b,) mean over slices of the p-th powers, differentiable.
        slices: (*b, L) the p-th power on every slice, less its control variate if there is one; without gradient,
            unless `estimate` was told to be ``differentiable`` and there is no control variate.
        block: How many consecutive slices were drawn together (one orthogonal basis); blocks are independent.
        p: The order.
        weights: (*b, L) weights of the slices, of sum one, if the mean is a weighted one.
        gap: (*b,) by how much the cost may lie above the optimum on its slices. It is measured if a solver stops at a
            tolerance, as for unbalanced slices, and zero if every slice is solved exactly.
    """

    cost: Float[Tensor, "*b"]
    slices: Float[Tensor, "*b slices"]
    block: int = 1
    p: float = field(default=2.0)
    weights: Float[Tensor, "*b slices"] | None = None
    gap: Float[Tensor, "*b"] | float = 0.0
    _gives_numpy = True

    @property
    @answers_in_kind
    def distance(self) -> Float[Tensor, "*b"]:
        """The p-th root of the cost; at zero, where the root has no derivative, its gradient is zero."""
        return root(self.cost, self.p)

    @property
    @answers_in_kind
    def standard_error(self) -> Float[Tensor, "*b"]:
        """Standard deviation of ``cost`` over new draws of the slices, estimated from this one draw.

        Slices of one orthogonal basis are not independent. With eight bases or more, the means of the bases are the
        sample. With fewer bases, the slices are treated as independent, which makes the standard error too large rather
        than too small. For a weighted mean it is the first-order error of the ratio of two means.
        """
        sample = self.slices.detach()
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


@takes_arrays
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
    """The mean of the problem ``line`` over the slices of ``slicer``; every sliced distance is one such combination.

    Value and gradient are computed in one pass over chunks of slices, in memory that does not grow with their number.
    Points, weights and the parameters of the slicer receive gradients. Further derivatives compute every chunk again;
    with ``differentiable`` the whole graph is stored instead.

    Args:
        x: First clouds.
        y: Second clouds, in the same space.
        a: Non-negative weights of `x`, equal if None.
        b: The same for `y`.
        slicer: The scalar coordinates.
        line: The one-dimensional problem; `Balanced(2)` if None.
        weights: Weights of the slices, for a weighted mean; they are constants.
        control_variate: Quadratic forms of the direction with a known mean, which are subtracted for a smaller
            variance: ``"lower"`` is the square of the projected difference of the means, ``"upper"`` is the sum of this
            and both projected variances, and ``"quadratic"`` fits the three separately. It needs a `LinearSlicer` of a
            uniform law. Whole orthonormal bases integrate quadratic forms exactly, so that it changes nothing there.
        block: Number of slices that were drawn together, for the standard error.
        differentiable: Store the graph of every slice, so that ``slices`` has gradients too; this needs memory, and
            makes higher derivatives faster.

    Returns:
        The estimate: its ``cost`` (p-th power), its ``distance`` (rooted), its ``standard_error``.

    Raises:
        ShapeError: Clouds of different dimension or batch.
        InputError: A control variate for slices for which its mean is not known.

    Source:
        Nguyen, Ho, Sliced Wasserstein estimation with control variates (arXiv 2305.00402).

    Example:
        >>> import torch
        >>> from monge.sliced import LinearSlicer, estimate
        >>> x = torch.tensor([[0.0, 0.0]]); y = torch.tensor([[3.0, 4.0]])
        >>> estimate(x, y, slicer=LinearSlicer(torch.eye(2))).cost  # the mean of 9 and 16
        tensor(12.5000)
    """
    clouds = aligned(x, y, a, b, slices=slicer._batch)
    line = Balanced() if line is None else line
    if control_variate is None:
        return averaged(clouds, slicer, line, weights, block, differentiable)
    check_choice("control_variate", control_variate, CONTROL_VARIATES)
    if not isinstance(slicer, LinearSlicer) or weights is not None:
        raise InputError(
            f"control_variate={control_variate!r} needs Linear slices of a uniform law without weights, but got "
            f"{type(slicer).__name__}{' and weights' if weights is not None else ''}: leave it out."
        )
    plain, near = averaged(clouds, slicer, line, None, block, differentiable), slicer._prepared(clouds)
    cost, slices = controlled(plain.cost, plain.slices, near, slicer.theta.to(near.x.dtype), control_variate)
    return plain._replace(cost=cost, slices=slices)._made_of(x.dtype)


@transformable
def refine(draw: Callable[[int], Estimate], *, tol: float, slices: int = 128, max_slices: int = 100_000) -> Estimate:
    """Draw more slices, twice as many each time, until the standard error is a small share of the cost.

    Earlier slices are kept: the estimate is the mean over all slices so far. It works for every distance that is a mean
    over slices, trees or frames.

    Args:
        draw: A function of a number of slices, which returns the estimate from new slices at every call.
        tol: The largest standard error, as a share of the cost, of every problem of the batch.
        slices: The first number of slices.
        max_slices: The largest number of slices; the estimate tells its standard error in any case.

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
    found = with_tensors(draw(min(slices, max_slices)))
    while bool((found.standard_error > tol * found.cost.detach()).any()):
        count = found.slices.shape[-1]
        if count >= max_slices:
            break
        if found.weights is None:
            found = found._joined(with_tensors(draw(min(count, max_slices - count))))
        else:  # shares of one draw say nothing about another
            found = with_tensors(draw(min(2 * count, max_slices)))
    return found


def enough(draw: Callable[[int], Estimate], slices: int, tol: float | None, max_slices: int = 100_000) -> Estimate:
    """So many fresh slices, or as many as a tolerance asks for, where there is one."""
    return draw(slices) if tol is None else refine(draw, tol=tol, slices=slices, max_slices=max_slices)


def slice_costs(clouds: Clouds, slicer: Slicer, line: LineProblem) -> Float[Tensor, "*b slices"]:
    """The cost on every slice, in the graph of autograd; chunks of slices are made again in a backward pass."""
    return recorded(*_on_slices(clouds, slicer, line, [].append), None)[1].to(clouds.x.dtype)


def averaged(
    clouds: Clouds,
    slicer: Slicer,
    line: LineProblem,
    weights: Tensor | None = None,
    block: int = 1,
    differentiable: bool = False,
) -> Estimate:
    """`estimate`, for clouds and weights that are checked and of one batch."""
    gaps: list[Tensor] = []
    costs, parts, tensors = _on_slices(clouds, slicer, line, gaps.append)
    if differentiable:
        slices = costs(slice(None), *tensors)
        cost = mean(slices, weights)
    else:
        cost, slices = mean_over_slices(costs, parts, tensors, weights, parts_of(slicer).tensors)
    gap = mean(torch.cat(gaps, -1).detach(), weights)
    return Estimate(cost, slices, block, float(line.p), weights, gap)._made_of(clouds.x.dtype)


def _on_slices(
    clouds: Clouds, slicer: Slicer, line: LineProblem, tell: Callable[[Tensor], None]
) -> tuple[Callable[..., Tensor], list[slice], tuple[Tensor | None, ...]]:
    """The costs on the slices of a chunk, which tell their gaps, the chunks, and the tensors that the costs are of.

    These are points and weights, and what the problem holds, which may differ from slice to slice.
    """
    near, batch = slicer._prepared(clouds), clouds.x.shape[:-2]
    own = parts_of(line._map(lambda held: held.expand(*batch, held.shape[-1] if held.ndim else 1)))

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, *held: Tensor) -> Tensor:
        here = line
        if held:
            here = own.build(held)._map(lambda part: part if part.shape[-1] == 1 else part[..., chunk])
        found, gap = here._measured(here._posed(slicer, Clouds(x, y, a, b), chunk))
        tell(gap)
        return found

    scalars = line._scalars * batch.numel() * (near.x.shape[-2] + near.y.shape[-2])
    return costs, chunks(slicer.count, scalars, near.x.element_size()), (*near, *own.tensors)
