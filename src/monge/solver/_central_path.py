"""Newton's method along the central path: exact transport between marginals whose price is curved.

The dual of exact transport, max -S*(-f) - T*(-g) over f_i + g_j <= C_ij, has n + m variables, and is approached from
inside its constraints. Every constraint has a multiplier: that of a pair is an entry of the plan, that of an end of the
domain of a potential is mass that is left or created. On the central path, multiplier times distance is one number for
all constraints, and it goes to zero. A step solves a symmetric system of the size of the smaller side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monge.errors import InfeasibleError
from monge.problem import Fixed, Linear
from monge.problem.marginal import Marginal, column

# The part of the way to the nearest constraint that a step goes at most.
_SHARE = 0.99
# The least part of the duality gap that products of multipliers and distances should explain: where they vanish before
# the plan has its masses, steps become short.
_AHEAD = 1e-2
# After so many steps without a better gap, rounding has stopped the method. Where weights differ by many powers of ten,
# many steps do not lower the gap at first.
_PATIENCE = 100
# A point of a smaller share of the mass meets nobody: what it pays for that is far below the rounding of any value.
_LEAST_SHARE = 1e-32

Three = Sequence[Tensor]
"""Something of every constraint: (*b, n, m) of the pairs, (*b, 2, n) and (*b, 2, m) of the ends of both domains."""


class Reached(NamedTuple):
    """The best that was met, per problem: marginals, potentials, their gap and the size of the value; and the step."""

    row: Float[Tensor, "*b n"]
    col: Float[Tensor, "*b m"]
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    gap: Float[Tensor, "*b"]
    scale: Float[Tensor, "*b"]
    steps: Int[Tensor, "*b"]


@torch.no_grad()
def central_path(problem: Linear, tol: float, max_iter: int) -> Reached:
    """Marginals and potentials of exact transport in float64, of a batch of problems with stored costs.

    Args:
        problem: Its marginals may have any price; a plan must exist.
        tol: The duality gap to reach, as a part of the value.
        max_iter: Most steps.

    Raises:
        InfeasibleError: If the value has no lower bound.
    """
    path = _Path(problem)
    at = path.start()
    now = best = path.measured(at, 0)
    stale = 0
    for count in range(1, max_iter + 1):
        if stale == _PATIENCE or bool((best.gap <= tol * best.scale).all()):
            break
        at = path.step(at, now)
        now = path.measured(at, count)
        better = (now.gap < best.gap) & (best.gap > tol * best.scale)
        stale = 0 if bool(better.any()) else stale + 1
        best = Reached(*(_chosen(better, new, old) for new, old in zip(now, best, strict=True)))
    return best


class _Side(NamedTuple):
    """A marginal, the domain of its potentials, which points have mass that reaches others, potentials of the rest."""

    marginal: Marginal
    low: Float[Tensor, "*b n"]
    high: Float[Tensor, "*b n"]
    taking: Bool[Tensor, "*b n"]
    alone: Float[Tensor, "*b n"]

    @property
    def moves(self) -> Tensor:
        """The points whose potential is not given."""
        return self.taking & (self.low < self.high)

    def distances(self, f: Tensor) -> Tensor:
        """How far potentials are from both ends of their domain; infinitely far where nothing moves."""
        ends = torch.stack([f - self.low, self.high - f], -2)
        return torch.where(self.moves[..., None, :], ends, math.inf)

    def changes(self, step: Tensor) -> Tensor:
        """How those distances change with the potentials."""
        return torch.stack([step, -step], -2)

    def tangent(self, f: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The masses that potentials imply, and their derivatives by -f, along the tangent at other potentials."""
        curvature = torch.where(self.moves, self.marginal._curvature(seen), 0.0)
        mass = torch.where(self.moves, self.marginal._mass_at(seen), 0.0)
        return mass - curvature * (f - seen), curvature

    def followed(self, f: Tensor, seen: Tensor) -> Tensor:
        """Where the next tangent touches: towards f, until masses would double or vanish along this one."""
        mass, curvature = self.tangent(seen, seen)
        most = torch.where(curvature > 0, mass / curvature, math.inf)
        return seen + (f - seen).minimum(_SHARE * most).maximum(-most)

    def middle(self, unit: Tensor) -> Tensor:
        """Potentials inside their domain, about a unit from a single end."""
        low, high = self.low.maximum(-column(unit)), self.high.minimum(column(unit))
        return torch.where(self.taking, (low + high) / 2, self.alone)

    def under(self, bound: Tensor, unit: Tensor) -> Tensor:
        """Potentials clearly below a bound."""
        bound = bound.minimum(self.high).clamp(max=0) - column(unit)
        return torch.where(self.taking, torch.where(self.moves, bound, self.low), self.alone)


class _At(NamedTuple):
    """Potentials, those at which the masses that they imply have their tangents, and the multipliers."""

    f: Tensor
    g: Tensor
    seen: tuple[Tensor, Tensor]
    multipliers: Three


class _Path:
    """The constraints of a problem, and steps between points inside of them."""

    def __init__(self, problem: Linear) -> None:
        batch, (n, m) = problem.batch_shape, problem.shape
        cost = problem.geometry._dense().expand(*batch, n, m)
        a, b = problem.a.expand(*batch, n), problem.b.expand(*batch, m)
        met_a, met_b = _meets(problem.source, a), _meets(problem.target, b)
        allowed = cost.isfinite() & met_a[..., None] & met_b[..., None, :]
        # Forbidden pairs are infinitely far from their constraint, as potentials are from an end that does not exist.
        self.problem, self.cost = problem, cost.masked_fill(~allowed, math.inf)
        self.rows = _side(problem.source, a, allowed.any(-1))
        self.cols = _side(problem.target, b, allowed.any(-2))
        self.count = allowed.sum((-1, -2)).clamp_min(1)

    def distances(self, f: Tensor, g: Tensor) -> Three:
        return self.cost - f[..., None] - g[..., None, :], self.rows.distances(f), self.cols.distances(g)

    def changes(self, f: Tensor, g: Tensor) -> Three:
        return -f[..., None] - g[..., None, :], self.rows.changes(f), self.cols.changes(g)

    def start(self) -> _At:
        """A point inside all constraints, whose plan has about the mass of the weights."""
        rows, cols, finite = self.rows, self.cols, self.cost.isfinite()
        unit = torch.where(finite, self.cost.abs(), 0).sum((-1, -2)) / finite.sum((-1, -2)).clamp_min(1)
        unit = torch.where(unit > 0, unit, 1.0)
        if bool(cols.low.isfinite().any()):
            g = cols.middle(unit)
            f = rows.under((self.cost - g[..., None, :]).amin(-1), unit)
        else:
            f = rows.middle(unit)
            g = cols.under((self.cost - f[..., None]).amin(-2), unit)
        distances = self.distances(f, g)
        if not all(bool((d > 0).all()) for d in distances):
            raise InfeasibleError(
                "the problem must have a least value, but is unbounded: some costs are negative, and more mass on both "
                "sides lowers the value without end. Fix one marginal, or add a number to all costs."
            )
        mass = torch.maximum(self.problem.source.total, self.problem.target.total)
        level = mass / (1 / distances[0]).sum((-1, -2)).clamp_min(torch.finfo(f.dtype).tiny)
        return _At(f, g, (rows.middle(unit), cols.middle(unit)), [column(level, 2) / d for d in distances])

    def measured(self, at: _At, count: int) -> Reached:
        """The gap between a plan and potentials, as a part of the numbers that the value is made of."""
        f, g, _, (plan, *_) = at
        problem, row, col = self.problem, plan.sum(-1), plan.sum(-2)
        cost = torch.where(plan > 0, plan * self.cost, 0.0)
        paid = problem.source._priced(row, f) + problem.target._priced(col, g)
        gap = cost.sum((-1, -2)) + paid - problem._conjugates(f, g)
        scale = cost.abs().sum((-1, -2)) + paid.abs()
        gap = gap.clamp_min(0).nan_to_num(math.inf, math.inf)
        return Reached(row, col, f, g, gap, scale, torch.full(gap.shape, count, device=gap.device))

    def step(self, at: _At, told: Reached) -> _At:
        """Towards the end of the path as far as that would go, corrected towards its middle (Mehrotra)."""
        f, g, seen, multipliers = at
        distances = self.distances(f, g)
        system = _System(self, at, distances)
        (df, dg), dz = system.direction([torch.zeros_like(d) for d in distances])
        changes = self.changes(df, dg)
        share = column(_largest(distances, changes).minimum(_largest(multipliers, dz)), 2)
        now, ahead = (
            _level(distances, multipliers),
            _level(_moved(distances, share, changes), _moved(multipliers, share, dz)),
        )
        level = now * torch.where(now > 0, ahead / now, 0.0).clamp(0, 1) ** 3
        level = level.maximum(now.minimum(_AHEAD * told.gap / self.count))
        (df, dg), dz = system.direction([column(level, 2) - d * z for d, z in zip(changes, dz, strict=True)])
        share = (_SHARE * _largest(distances, self.changes(df, dg)).minimum(_largest(multipliers, dz))).clamp(max=1)
        f, g = f + column(share) * df, g + column(share) * dg
        seen = self.rows.followed(f, seen[0]), self.cols.followed(g, seen[1])
        return _At(f, g, seen, _moved(multipliers, column(share, 2), dz))


class _System:
    """The equations of one step, whose matrix is factored once.

    Without multipliers and distances, which are eliminated, it is [R W; W^T S] (df, dg) = right with W = plan /
    distance. R and S exceed the sums of W by what the ends of domains and the curvature of prices add.
    """

    def __init__(self, path: _Path, at: _At, distances: Three) -> None:
        self.path, self.distances, self.multipliers = path, distances, at.multipliers
        self.ratios = [z / d for z, d in zip(at.multipliers, distances, strict=True)]
        rows, cols = path.rows, path.cols
        self.moves = rows.moves, cols.moves
        tangents = rows.tangent(at.f, at.seen[0]), cols.tangent(at.g, at.seen[1])
        self.masses = [mass for mass, _ in tangents]
        cross = torch.where(rows.moves[..., None] & cols.moves[..., None, :], self.ratios[0], 0.0)
        rest = self.ratios[0] - cross
        excess = [
            torch.where(moves, curvature + ends.sum(-2) + rest.sum(dim), 1.0)
            for moves, (_, curvature), ends, dim in zip(self.moves, tangents, self.ratios[1:], (-1, -2), strict=True)
        ]
        # The side that is eliminated is the longer one.
        self.order = slice(None, None, -1 if at.f.shape[-1] > at.g.shape[-1] else 1)
        self.cross = cross if self.order.step == 1 else cross.mT
        near, far = excess[self.order]
        self.diagonal = far + self.cross.sum(-2)
        self.scaled = self.cross / self.diagonal[..., None, :]
        schur = -(self.scaled @ self.cross.mT)
        # The diagonal exceeds the other entries by what is known to be positive: no digit is lost to a difference.
        schur.diagonal(dim1=-2, dim2=-1).zero_()
        beyond = near + (self.scaled @ far[..., None])[..., 0]
        schur.diagonal(dim1=-2, dim2=-1).copy_(beyond - schur.sum(-1))
        self.factor = torch.linalg.cholesky_ex(schur).L

    def direction(self, targets: Three) -> tuple[tuple[Tensor, Tensor], Three]:
        """The changes of potentials and multipliers after which products of multiplier and distance are the targets."""
        aims = [target / d for target, d in zip(targets, self.distances, strict=True)]
        right = [
            torch.where(moves, mass - aims[0].sum(dim) + ends[..., 0, :] - ends[..., 1, :], 0.0)
            for moves, mass, ends, dim in zip(self.moves, self.masses, aims[1:], (-1, -2), strict=True)
        ]
        near, far = right[self.order]
        solved = torch.cholesky_solve((near - (self.scaled @ far[..., None])[..., 0])[..., None], self.factor)
        other = (far - (self.cross.mT @ solved)[..., 0]) / self.diagonal
        f, g = (solved[..., 0], other)[self.order]
        changes = self.path.changes(f, g)
        moved = [
            aim - z - ratio * change
            for aim, z, ratio, change in zip(aims, self.multipliers, self.ratios, changes, strict=True)
        ]
        return (f, g), moved


def _meets(marginal: Marginal, weights: Tensor) -> Tensor:
    """The points with mass that counts; where the marginal is fixed, all mass does."""
    least = 0.0 if isinstance(marginal, Fixed) else _LEAST_SHARE
    return weights > least * weights.sum(-1, keepdim=True)


def _side(marginal: Marginal, weights: Tensor, reaches: Tensor) -> _Side:
    low, high = (marginal._project(torch.full_like(weights, end)) for end in (-math.inf, math.inf))
    most = marginal._maximiser(torch.full_like(weights, math.inf), weights.new_ones(()))
    return _Side(marginal, low, high, (weights > 0) & reaches, torch.where(weights > 0, most, 0.0))


def _level(distances: Three, multipliers: Three) -> Tensor:
    """The mean product of multiplier and distance."""
    known = [d.isfinite() for d in distances]
    products = [torch.where(there, d * z, 0.0) for d, z, there in zip(distances, multipliers, known, strict=True)]
    total, count = (torch.stack([part.sum((-1, -2)) for part in parts]).sum(0) for parts in (products, known))
    return total / count.clamp_min(1)


def _largest(numbers: Three, changes: Three) -> Tensor:
    """The largest share of the changes that leaves all numbers positive, at most one beyond rounding."""
    shares = [
        torch.where(change < 0, number / -change, math.inf).amin((-1, -2))
        for number, change in zip(numbers, changes, strict=True)
    ]
    return torch.stack(shares).amin(0).clamp(max=1 / _SHARE)


def _moved(numbers: Three, share: Tensor, changes: Three) -> Three:
    return [number + share * change for number, change in zip(numbers, changes, strict=True)]


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better[(..., *(None,) * (new.ndim - better.ndim))], new, old)
