"""Rows of one-dimensional problems: how they are flattened, and how a cost with known derivatives meets autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monge._arrays import is_mapped, working_dtype
from monge._checks import check_batches
from monge.errors import InputError, ShapeError

from .._extension import FULL_PRECISION, call, reads
from .._operator import operator
from .._rules import Rules
from ..derivatives import again, derivatives

# A problem as arguments of an operator.
ROWS = "Tensor[rows n] x, Tensor[rows m] y, Tensor?[#rows n; float64] a, Tensor?[#rows m; float64] b"


class RowProblem(NamedTuple):
    """Two clouds on a line or a circle, one pair a row; weights shared by all rows keep a single row."""

    x: Tensor  # (rows, n)
    y: Tensor  # (rows, m)
    a: Tensor | None  # (rows or 1, n), float64, mass one unless asked otherwise
    b: Tensor | None  # (rows or 1, m), float64
    batch: torch.Size

    @property
    def shares(self) -> tuple[Tensor | float, ...]:
        """The weights of both sides, equal ones as their number."""
        sides = (self.x, self.a), (self.y, self.b)
        return tuple(1 / points.shape[-1] if weights is None else weights for points, weights in sides)


class Priced(NamedTuple):
    """Costs of the rows and their derivatives; a derivative that was not asked for is empty."""

    cost: Tensor  # (rows, 1), float64
    dx: Tensor
    dy: Tensor
    f: Tensor
    g: Tensor


def row_problem(x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, mass_one: bool = True) -> RowProblem:
    """Broadcast the batch dimensions, flatten them to rows, scale the weights to mass one or leave them."""
    batch = check_batches(x=x.shape[:-1], y=y.shape[:-1])

    def weight_rows(weights: Tensor | None, n: int, name: str) -> Tensor | None:
        if weights is None:
            return None
        if weights.shape[-1] != n:
            raise ShapeError(f"{name} must hold {n} weights a row, but has shape {tuple(weights.shape)}.")
        weights = weights.double()
        return few_rows(weights / weights.sum(-1, keepdim=True) if mass_one else weights, batch)

    upcast = working_dtype(x)
    weights = weight_rows(a, x.shape[-1], "a"), weight_rows(b, y.shape[-1], "b")
    return RowProblem(_rows(x.to(upcast), batch), _rows(y.to(upcast), batch), *weights, batch)


def few_rows(weights: Tensor, batch: torch.Size) -> Tensor:
    """One row of weights for each problem, or a single one that all of them read."""
    shared = weights.shape[:-1].numel() == 1 and batch.numel() > 0
    return weights.reshape(1, -1) if shared else _rows(weights, batch)


def _rows(side: Tensor, batch: torch.Size) -> Tensor:
    return side.expand(*batch, side.shape[-1]).reshape(-1, side.shape[-1])


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
        return _in_range(cost.to(x.dtype), problem, p, self.definition).reshape(problem.batch)


def row_loop(
    signature: str,
    allocate: Callable[..., tuple[Tensor, ...]],
    given: int,
    order: Sequence[int] | None = None,
    **options: Any,
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
        call(name, *read, *written, torch.get_num_threads())
        return made

    return operator(Rules(signature, FULL_PRECISION), run, allocate, **options)


def distance_loop(name: str, further: str = "", numbers: int = 1) -> Callable[..., Any]:
    """The native loop of a distance as an operator, of a problem, its order, and what is said ``further``.

    It finds the costs, more ``numbers`` a row if there are any, and derivatives by positions and by weights as far as
    they are asked for.
    """

    def allocate(x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        positions, potentials = rest[-2:]
        return (
            *(x.new_empty(len(x), 1, dtype=torch.float64) for _ in range(numbers)),
            *(t.new_empty(t.shape if positions else 0) for t in (x, y)),
            *(t.new_empty(t.shape if potentials else 0, dtype=torch.float64) for t in (x, y)),
        )

    found = ", ".join(["Tensor"] * (numbers + 4))
    signature = f"{name}({ROWS}, float[1 <= p] p{further}, bool positions, bool potentials) -> ({found})"
    return row_loop(signature, allocate, given=5 + further.count(","))


def _in_range(cost: Tensor, problem: RowProblem, p: float, definition: Callable[[RowProblem, float], Tensor]) -> Tensor:
    """The costs of rows, unless powers of finite gaps are no numbers: these are refused, never zero nor infinite.

    Args:
        cost: W_p^p of every row, in the dtype of the answer.
        problem: The rows.
        p: Order.
        definition: What tells W_1 of every row, which has no powers.
    """
    known, tiny = cost.detach(), torch.finfo(cost.dtype).tiny
    if is_mapped() or not bool((~known.isfinite() | (known < tiny)).any()):
        return cost
    if not bool(known.isfinite().all()):
        told, remedy = "overflow", "divide the points by a length"
    else:
        with torch.no_grad():
            places = torch.cat([problem.x, problem.y], -1)
            moved = definition(problem._replace(x=problem.x.detach(), y=problem.y.detach()), 1.0).double()
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
        return found.cost[:, 0].to(x.dtype)

    @staticmethod
    def backward(ctx, upstream):
        x, y, a, b, *found = ctx.saved_tensors
        inputs = x, y, a, b
        if again():
            cost = ctx.definition(RowProblem(*inputs, ctx.batch), ctx.p)
            return None, None, *derivatives(cost, inputs, upstream.to(cost.dtype)), None
        gradients: list[Tensor | None] = []
        for held, gradient, needed in zip(inputs, found, ctx.needs_input_grad[2:6], strict=True):
            felt = gradient * upstream[:, None] if needed else None
            gradients.append(felt if felt is None or len(held) == len(felt) else felt.sum(0, keepdim=True))
        return None, None, *gradients, None


def levels(weights: Tensor | None, order: Tensor) -> Tensor:
    """Cumulative weights in sorted order, exactly one from the last atom with mass on: none is left for absent ones."""
    n = order.shape[-1]
    if weights is None:
        steps = torch.arange(1, n + 1, dtype=torch.float64, device=order.device) / n
        return steps.expand(order.shape)
    return running(weights.expand(order.shape).gather(-1, order), 1.0)


def running(weights: Tensor, mass: Tensor | float) -> Tensor:
    """Running sums that reach a mass at the last atom with any, and not before: rounding leaves none for absent atoms.

    The value is such, the derivative that of the sum, since mass may still come to an absent atom.
    """
    sums = weights.cumsum(-1)
    full = (weights > 0).flip(-1).cumsum(-1).flip(-1) <= (weights > 0)
    reached = torch.where(full, mass, sums.clamp(max=mass))
    return sums + (reached - sums).detach()


def staircase(level_x: Tensor, level_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row index, column index and mass of the n + m pieces between merged levels; pieces may be empty.

    Indices count the levels below, so that an atom without mass has an empty piece of its own, which its weight fills.
    """
    i, j, mass = pieces(level_x, level_y)
    return i.clamp_(max=level_x.shape[-1] - 1), j.clamp_(max=level_y.shape[-1] - 1), mass


def pieces(level_x: Tensor, level_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Between merged levels, how many of each side lie below, and the mass; of equal ones those of x come first."""
    merged, order = torch.cat([level_x, level_y], -1).sort(dim=-1, stable=True)
    row = (order < level_x.shape[-1]).long()
    mass = merged.diff(dim=-1, prepend=torch.zeros_like(merged[..., :1]))
    return row.cumsum(-1) - row, (1 - row).cumsum(-1) - (1 - row), mass
