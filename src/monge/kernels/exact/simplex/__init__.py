"""Exact transport between weighted measures: a basic optimal plan and optimal potentials."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError, NotConvergedError, ShapeError

from ... import _extension
from ...stream import Matrix, Pairs, Points, ctransform
from .._reduced import reduced
from ..arcs import Arcs
from . import native, reference

__all__ = ["Basis", "simplex"]

PointCost = tuple[Tensor, Tensor, float | int, float | int]


class Basis(NamedTuple):
    """A basic optimal plan, entry by entry, and the potentials that prove it."""

    i: Int[Tensor, " k"]
    j: Int[Tensor, " k"]
    w: Float[Tensor, " k"]
    f: Float[Tensor, " n"]
    g: Float[Tensor, " m"]


@transformable
@torch.no_grad()
def simplex(
    cost: Pairs | Arcs | Float[Tensor, "n m"] | PointCost,
    a: Float[Tensor, " n"],
    b: Float[Tensor, " m"],
    *,
    start: Basis | None = None,
    potentials: tuple[Float[Tensor, " n"], Float[Tensor, " m"]] | None = None,
    max_iter: int | None = None,
    rounding: float = torch.finfo(torch.float64).eps,
) -> Basis:
    r"""Solves the transport problem exactly.

    $$\min_{P \ge 0} \sum_{ij} C_{ij} P_{ij}, \qquad P 1 = a, \quad P^\top 1 = b.$$
    The plan is a vertex: at most $n + m - 1$ entries. The potentials satisfy $f_i + g_j \le C_{ij}$, with equality on
    the plan, up to 1e-14 of the numbers involved, whatever the start: the last act is a pass over all pairs that finds
    no violation. They are shifted so that $\langle a, f\rangle = \langle b, g\rangle$. An atom of zero weight takes no
    part; its potential is the largest that stays feasible.

    Weights are counted in integers, so that flows add up exactly and ties cannot cycle: in parts of a common
    denominator where fractions of a small one lie within `rounding`, else in 1e-18 of the mass. Flows that together are
    a few `rounding` of the mass are not told from none.

    Everything happens in float64 on the CPU. The result is locally constant in the cost, hence not differentiable;
    the derivative of the value is the plan by the cost, and the potentials by the weights.

    Args:
        cost: The matrix $C$ (a tensor or a `Matrix`), where ``inf`` forbids a pair; or `Points`, whose costs are
            computed on the fly in memory $O((n + m) d)$; or `Arcs`, the pairs that may meet. A tuple
            ``(x, y, p, power)`` is short for ``Points(x, y, p=p, power=power)``.
        a: Source weights, not negative.
        b: Target weights; a sum that differs by rounding is scaled to that of `a`.
        start: The answer to a similar problem of the same shape: its basis is the first one. The sooner it is optimal
            here, the less there is to do.
        potentials: Guesses of $f$ and $g$, for instance from an entropic solver; only their quality as a guess matters.
        max_iter: Most pivots allowed; None for no limit.
        rounding: The relative error to which weights are known, if they come from a lower precision.

    Returns:
        Entries ``(i, j, w)`` of the plan, all of them positive, and the potentials ``f`` and ``g``.

    Raises:
        InfeasibleError: The sums of `a` and `b` differ, or every plan uses a forbidden pair.
        NotConvergedError: `max_iter` pivots were not enough; its ``solution`` is the `Basis` reached, a feasible plan
            unless costs are infinite.

    Example:
        >>> import torch
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> i, j, w, f, g = simplex(cost, weights, weights)
        >>> float((w * cost[i, j]).sum())
        0.0

    The method is in Ahuja, Magnanti, Orlin, "Network Flows" (1993), chapter 11; the strongly feasible tree is
    Cunningham's, "A network simplex method" (1976).
    """
    device = a.device
    pairs = _checked_cost(cost)
    a, b = _checked_weights(a, b, pairs)
    rows, columns = a > 0, b > 0
    hints = _hints(start, potentials, rows, columns)
    whole = bool(rows.all() and columns.all())
    kept = pairs if whole else _select(pairs, rows, columns)
    less = reduced(kept.cost) if isinstance(kept, Matrix) else None
    if less is not None:
        kept, hints = Matrix(less.cost), hints.of(less)
    weights = a[rows], b[columns]
    if not bool(rows.any()):
        solved = native.NOTHING
    elif _extension.AVAILABLE:
        solved = native.simplex(kept, *weights, hints, max_iter, rounding)
    else:
        solved = reference.simplex(kept, *weights)
    if solved.status == native.INFEASIBLE:
        raise InfeasibleError(
            "every plan between a and b needs pairs of infinite cost: allow more pairs, or leave mass unmatched "
            "with a partial problem."
        )
    basis = Basis(*solved[2:])
    if less is not None:
        basis = _centred(Basis(*basis[:3], *less.restore(basis.f, basis.g)), *weights)
    if not whole:
        basis = _restore(basis, pairs, rows, columns)
    basis = Basis(*(part.to(device) for part in basis))
    if solved.status == native.LIMIT:
        raise NotConvergedError(
            f"the simplex stopped at max_iter={max_iter} pivots before it was optimal: allow more, or start from a "
            "better basis.",
            basis,
        )
    return basis


def _centred(basis: Basis, a: Tensor, b: Tensor) -> Basis:
    """The potentials shifted so that both sides have the same share of the value."""
    half = ((a * basis.f).sum() - (b * basis.g).sum()) / (a.sum() + b.sum())
    return basis._replace(f=basis.f - half, g=basis.g + half)


def _plain(numbers: Tensor) -> Tensor:
    return numbers.detach().cpu().double()


def _select(pairs: Pairs | Arcs, rows: Tensor, columns: Tensor) -> Pairs | Arcs:
    return pairs.rows(rows.nonzero()[:, 0]).transpose().rows(columns.nonzero()[:, 0]).transpose()


def _finite(potential: Tensor) -> Tensor:
    # An atom that may go nowhere is not bounded by anything; zero is as good as any other number.
    return torch.where(torch.isfinite(potential), potential, 0.0)


def _lowest(pairs: Pairs | Arcs, g: Tensor) -> Tensor:
    return pairs.lowest(g) if isinstance(pairs, Arcs) else ctransform(pairs, g)[0]


def _restore(basis: Basis, pairs: Pairs | Arcs, rows: Tensor, columns: Tensor) -> Basis:
    """Numbers the kept atoms as before, and gives the others potentials by c-transforms."""
    i, j, w, f, g = basis
    kept_rows, kept_columns, dropped_rows, dropped_columns = (
        chosen.nonzero()[:, 0] for chosen in (rows, columns, ~rows, ~columns)
    )
    f_all, g_all = f.new_zeros(len(rows)), f.new_full((len(columns),), -math.inf)
    f_all[kept_rows], g_all[kept_columns] = f, g
    f_all[dropped_rows] = _finite(_lowest(pairs.rows(dropped_rows), g_all))
    g_all[dropped_columns] = _finite(_lowest(pairs.transpose().rows(dropped_columns), f_all))
    return Basis(kept_rows[i], kept_columns[j], w, f_all, g_all)


def _hints(
    start: Basis | None, potentials: tuple[Tensor, Tensor] | None, rows: Tensor, columns: Tensor
) -> native.Hints:
    arcs: tuple[Tensor | None, Tensor | None] = None, None
    if start is not None:
        i, j = start[0].cpu(), start[1].cpu()
        n, m = len(rows), len(columns)
        inside = (i >= 0) & (i < n) & (j >= 0) & (j < m)
        if i.shape != j.shape or not bool(inside.all()):
            raise ShapeError(
                f"start must hold entries of a plan of shape {(n, m)}, but some lie outside: pass the "
                "answer to a problem of the same shape."
            )
        kept = rows[i] & columns[j]
        arcs = _renumber(rows)[i[kept]], _renumber(columns)[j[kept]]
        potentials = potentials or (start[3], start[4])
    if potentials is None:
        return native.Hints(*arcs)
    guesses: list[Tensor] = []
    for name, guess, chosen in (("f", potentials[0], rows), ("g", potentials[1], columns)):
        if guess.shape != chosen.shape:
            raise ShapeError(f"the guess of {name} must have shape {tuple(chosen.shape)}, not {tuple(guess.shape)}.")
        guesses.append(torch.nan_to_num(_plain(guess), 0.0, 0.0, 0.0)[chosen])
    return native.Hints(*arcs, *guesses)


def _renumber(kept: Tensor) -> Tensor:
    return (kept.cumsum(0) - 1).to(torch.int32)


def _checked_cost(cost: Pairs | Arcs | Tensor | PointCost) -> Pairs | Arcs:
    if isinstance(cost, tuple):
        x, y, p, power = cost
        cost = Points(x, y, p=p, power=power)
    elif isinstance(cost, Tensor):
        cost = Matrix(cost)
    if len(cost.batch_shape) > 0:
        raise ShapeError(
            f"cost must be one problem, but has batch dimensions {tuple(cost.batch_shape)}: loop over them."
        )
    if isinstance(cost, Arcs):
        prices = _plain(cost.cost)
        if not bool(prices.isfinite().all()):
            raise InputError("cost must hold finite costs of its pairs; leave a pair out to forbid it.")
        return Arcs(cost.i.cpu(), cost.j.cpu(), prices, cost.n, cost.m)
    if isinstance(cost, Matrix):
        matrix = _plain(cost.cost)
        if bool((matrix.isnan() | (matrix == -math.inf)).any()):
            raise InputError("cost must not hold NaN or -inf; use inf to forbid a pair.")
        return Matrix(matrix)
    x, y = _plain(cost.x), _plain(cost.y)
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise InputError("x and y must be finite: drop or mend the points that are NaN or infinite.")
    return Points(x, y, cost.kind, cost.p, cost.power)


def _checked_weights(a: Tensor, b: Tensor, pairs: Pairs | Arcs) -> tuple[Tensor, Tensor]:
    a, b = _plain(a), _plain(b)
    n, m = pairs.shape
    if a.shape != (n,) or b.shape != (m,):
        raise ShapeError(
            f"a and b must have shapes ({n},) and ({m},) for this cost, but have {tuple(a.shape)} and {tuple(b.shape)}."
        )
    for name, weights in (("a", a), ("b", b)):
        if not bool(((weights >= 0) & weights.isfinite()).all()):
            raise InputError(f"{name} must be finite and not negative, but holds {float(weights.min())}.")
    mass, other = float(a.sum()), float(b.sum())
    if not math.isclose(mass, other, rel_tol=1e-6):
        raise InfeasibleError(
            f"a and b must have the same sum, but a sums to {mass!r} and b to {other!r}: rescale one."
        )
    return a, b
