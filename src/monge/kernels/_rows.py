"""Rows of one-dimensional problems: how they are flattened, and how a cost with known slopes meets autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._arrays import is_mapped
from .._batch import broadcast_shapes
from ..errors import InputError, ShapeError
from .twice import again, derivatives

__all__ = ["Priced", "RowProblem", "in_range", "priced", "row_problem"]


class RowProblem(NamedTuple):
    """Two clouds on a line or a circle, one pair a row; weights shared by all rows keep a single row."""

    x: Tensor  # (rows, n)
    y: Tensor  # (rows, m)
    a: Tensor | None  # (rows or 1, n), float64, mass one unless asked otherwise
    b: Tensor | None  # (rows or 1, m), float64
    batch: torch.Size

    @property
    def plain(self) -> bool:
        """Whether the native loops can read it: real numbers of full precision on the CPU."""
        return self.x.device.type == "cpu" and self.x.dtype in (torch.float32, torch.float64)


class Priced(NamedTuple):
    """Costs of the rows and their derivatives; a derivative that was not asked for is empty."""

    cost: Tensor
    dx: Tensor
    dy: Tensor
    f: Tensor
    g: Tensor


def row_problem(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, mass_one: bool = True) -> RowProblem:
    """Broadcast the batch dimensions, flatten them to rows, scale the weights to mass one or leave them."""
    try:
        batch = broadcast_shapes(x.shape[:-1], y.shape[:-1])
    except RuntimeError as error:
        raise ShapeError(
            f"x and y must agree in all but their last dimension, but have shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}: expand one of them."
        ) from error

    def rows(points: Tensor) -> Tensor:
        return points.expand(*batch, points.shape[-1]).reshape(-1, points.shape[-1])

    def weight_rows(weights: Tensor | None, n: int, name: str) -> Tensor | None:
        if weights is None:
            return None
        if weights.shape[-1] != n:
            raise ShapeError(f"{name} must hold {n} weights a row, but has shape {tuple(weights.shape)}.")
        weights = weights.double()
        if mass_one:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights.reshape(1, n) if weights.numel() == n else rows(weights)

    upcast = torch.promote_types(x.dtype, torch.float32)
    return RowProblem(
        rows(x.to(upcast)),
        rows(y.to(upcast)),
        weight_rows(a, x.shape[-1], "a"),
        weight_rows(b, y.shape[-1], "b"),
        batch,
    )


def priced(
    compute: Callable[[RowProblem, bool, bool], Priced],
    problem: RowProblem,
    definition: Callable[[RowProblem], Tensor],
) -> Tensor:
    """The costs as a differentiable function of positions and weights.

    ``compute(problem, slopes, potentials)`` finds the derivatives in the same pass as the costs, so that backward
    only multiplies; it is asked for just those that somebody needs. Derivatives that are differentiated again are those
    of the definition.
    """
    return _Priced.apply(compute, definition, problem.x, problem.y, problem.a, problem.b, problem.batch)


def in_range(cost: Tensor, problem: RowProblem, p: float, distance: Callable[[RowProblem], Tensor]) -> Tensor:
    """The costs of rows, unless powers of finite gaps are no numbers: these are refused, never zero nor infinite.

    Args:
        cost: W_p^p of every row, in the dtype of the answer.
        problem: The rows.
        p: Order.
        distance: W_1 of every row, which has no powers.
    """
    known, tiny = cost.detach(), torch.finfo(cost.dtype).tiny
    if is_mapped() or not bool((~known.isfinite() | (known < tiny)).any()):
        return cost
    if not bool(known.isfinite().all()):
        told, remedy = "overflow", "divide the points by a length"
    else:
        with torch.no_grad():
            places = torch.cat([problem.x, problem.y], -1)
            moved = distance(problem._replace(x=problem.x.detach(), y=problem.y.detach())).double()
            # Mass that rounding leaves over may move anywhere.
            apart = moved > 1e-12 * (places.amax(-1) - places.amin(-1)).double()
        if p == 1 or not bool((apart & (known < tiny)).any()):
            return cost
        told, remedy = "vanish", "multiply the points by a number"
    raise InputError(
        f"Powers p={p:g} of the gaps between these points {told} in {str(cost.dtype).removeprefix('torch.')}: "
        f"{remedy}, lower p, or use float64."
    )


class _Priced(torch.autograd.Function):
    @staticmethod
    def forward(ctx, compute, definition, x, y, a, b, batch):
        slopes = any(ctx.needs_input_grad[2:4])
        potentials = any(ctx.needs_input_grad[4:6])
        found = compute(RowProblem(x, y, a, b, batch), slopes, potentials)
        ctx.save_for_backward(x, y, a, b, found.dx, found.dy, found.f, found.g)
        ctx.definition, ctx.batch = definition, batch
        ctx.shared = tuple(weights is not None and weights.shape[0] == 1 for weights in (a, b))
        return found.cost

    @staticmethod
    def backward(ctx, upstream):
        *inputs, dx, dy, f, g = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:6]
        if again():
            x, y, a, b = inputs
            cost = ctx.definition(RowProblem(x, y, a, b, ctx.batch))
            return None, None, *derivatives(cost, inputs, upstream.to(cost.dtype)), None
        dx, dy, f, g = (
            slope.to(upstream.dtype if k < 2 else slope.dtype).mul(upstream[:, None]) if wanted else None
            for k, (slope, wanted) in enumerate(zip((dx, dy, f, g), needed, strict=True))
        )
        f, g = (
            potential.sum(0, keepdim=True) if shared and potential is not None else potential
            for potential, shared in zip((f, g), ctx.shared, strict=True)
        )
        return None, None, dx, dy, f, g, None
