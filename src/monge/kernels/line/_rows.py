"""Rows of one-dimensional problems: how they are flattened, and how a cost with known derivatives meets autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, is_mapped, working_dtype
from monge.errors import InputError, ShapeError

from .._extension import module, reads
from .._operator import operator
from ..derivatives import again, derivatives

__all__ = ["ROWS", "Distance", "Priced", "RowProblem", "levels", "row_loop", "row_problem", "staircase"]

# A problem as arguments of an operator.
ROWS = "Tensor x, Tensor y, Tensor? a, Tensor? b"


class RowProblem(NamedTuple):
    """Two clouds on a line or a circle, one pair a row; weights shared by all rows keep a single row."""

    x: Tensor  # (rows, n)
    y: Tensor  # (rows, m)
    a: Tensor | None  # (rows or 1, n), float64, mass one unless asked otherwise
    b: Tensor | None  # (rows or 1, m), float64
    batch: torch.Size


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

    upcast = working_dtype(x)
    return RowProblem(
        rows(x.to(upcast)),
        rows(y.to(upcast)),
        weight_rows(a, x.shape[-1], "a"),
        weight_rows(b, y.shape[-1], "b"),
        batch,
    )


@dataclass(frozen=True)
class Distance:
    """A distance of rows to the power p, by a native loop and by its definition.

    ``fast(problem, positions, potentials, p)`` finds derivatives in the same pass as the costs, so that backward only
    multiplies; it is asked for just those that somebody needs. Derivatives that are differentiated again are those of
    the definition.
    """

    fast: Callable[[RowProblem, bool, bool, float], Priced]
    definition: Callable[[RowProblem, float], Tensor]

    def __call__(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float) -> Tensor:
        """One cost per pair, differentiable by positions and weights, in the dtype of ``x``."""
        problem = row_problem(x, y, a, b)
        cost = _Priced.apply(self, p, *problem) if reads(problem.x) else self.definition(problem, p)
        cost = _in_range(cost.to(x.dtype), problem, p, lambda rows: self.definition(rows, 1.0))
        return cost.reshape(problem.batch)

    def smooth(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, p: float) -> Tensor:
        """The same in operations that autograd can follow as often as it likes."""
        problem = row_problem(x, y, a, b)
        return self.definition(problem, p).to(x.dtype).reshape(problem.batch)


def row_loop(
    signature: str,
    allocate: Callable[..., tuple[Tensor, ...]],
    given: int,
    order: Sequence[int] | None = None,
    **rules: Any,
) -> Callable[..., Any]:
    """The native loop of that name as an operator: it reads the first ``given`` arguments and writes what is allocated.

    An output of one dimension has no rows: nobody asks for it. The loop takes outputs in the ``order`` said.
    """
    name = signature.partition("(")[0]

    def run(*arguments: Any) -> tuple[Tensor, ...]:
        made = allocate(*arguments)
        read = (t.detach().contiguous().numpy() if isinstance(t, Tensor) else t for t in arguments[:given])
        placed = made if order is None else [made[k] for k in order]
        written = (out.numpy() if out.ndim > 1 else None for out in placed)
        getattr(module(), name)(*read, *written, torch.get_num_threads())
        return made

    return operator(signature, run, allocate, **rules)


def _in_range(cost: Tensor, problem: RowProblem, p: float, distance: Callable[[RowProblem], Tensor]) -> Tensor:
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
    def forward(ctx, distance, p, x, y, a, b, batch):
        needed = ctx.needs_input_grad[2:6]
        found = distance.fast(RowProblem(x, y, a, b, batch), any(needed[:2]), any(needed[2:]), p)
        ctx.save_for_backward(x, y, a, b, found.dx, found.dy, found.f, found.g)
        ctx.definition, ctx.p, ctx.batch = distance.definition, p, batch
        return found.cost

    @staticmethod
    def backward(ctx, upstream):
        x, y, a, b, *found = ctx.saved_tensors
        inputs = x, y, a, b
        if again():
            cost = ctx.definition(RowProblem(*inputs, ctx.batch), ctx.p)
            return None, None, *derivatives(cost, inputs, upstream.to(cost.dtype)), None
        gradients: list[Tensor | None] = []
        for held, gradient, needed in zip(inputs, found, ctx.needs_input_grad[2:6], strict=True):
            if not needed or held is None:
                gradients.append(None)
                continue
            felt = gradient * upstream[:, None]
            gradients.append(felt if len(held) == len(felt) else felt.sum(0, keepdim=True))
        return None, None, *gradients, None


def levels(weights: Tensor | None, order: Tensor) -> Tensor:
    """Cumulative weights in sorted order, exactly one from the last atom with mass on: none is left for absent ones."""
    n = order.shape[-1]
    if weights is None:
        steps = torch.arange(1, n + 1, dtype=torch.float64, device=order.device) / n
        return steps.expand(order.shape)
    ordered = weights.expand(order.shape).gather(-1, order)
    running = ordered.cumsum(-1)
    full = (ordered > 0).flip(-1).cumsum(-1).flip(-1) <= (ordered > 0)
    return running + (torch.where(full, 1.0, running) - running).detach()  # mass may still come to an absent atom


def staircase(level_x: Tensor, level_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row index, column index and mass of the n + m pieces between merged levels; pieces may be empty.

    Indices count the levels below, so that an atom without mass has an empty piece of its own, which its weight fills.
    """
    n, m = level_x.shape[-1], level_y.shape[-1]
    merged, order = torch.cat([level_x, level_y], -1).sort(dim=-1, stable=True)
    row = (order < n).long()
    i, j = row.cumsum(-1) - row, (1 - row).cumsum(-1) - (1 - row)
    mass = merged.diff(dim=-1, prepend=torch.zeros_like(merged[..., :1]))
    return i.clamp_(max=n - 1), j.clamp_(max=m - 1), mass
