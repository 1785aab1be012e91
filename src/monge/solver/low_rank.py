"""Plans of low rank, in linear memory."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from monge._arrays import row_blocks
from monge._checks import check_number, check_seed
from monge._value import value
from monge.coupling import FactoredCoupling
from monge.errors import InfeasibleError
from monge.geometry import Geometry, PointCloud
from monge.problem import Linear

from . import _approximate
from .base import Capability, Case, Solver
from .solution import DualSolution

__all__ = ["LowRank"]

# The longest first step: by so many powers of e an entry may change more than another one of its row.
_STEP = 10.0
# The least mass of a pivot as a share of 1 / rank, and the least entry of a factor, which later steps can raise again.
_LEAST_PIVOT, _LEAST_ENTRY = 1e-6, 1e-60
_PROJECTIONS, _PROJECTED = 100, 1e-7
_LLOYD_STEPS, _PATIENCE = 8, 8


class _Factors(NamedTuple):
    """Masses from rows to pivots (n, r), from columns to pivots (m, r), and of the pivots (r,)."""

    Q: Tensor
    R: Tensor
    g: Tensor


@value
class LowRank(Solver):
    r"""A plan $Q\,\mathrm{diag}(1/g)\,R^\top$ through r pivots, of the least cost that is found.

    $$\min_{Q, R, g} \langle C, Q\,\mathrm{diag}(1/g)\,R^\top\rangle, \qquad Q 1 = a,\; R 1 = b,\;
    Q^\top 1 = R^\top 1 = g.$$
    Each step multiplies the factors by the exponential of minus their gradient and projects them, in the sense of KL,
    by Dykstra's algorithm. A step that makes the plan dearer is undone and halved. A last projection makes the
    marginals exact. With costs that have factors, such as squared distances, an iteration takes $O((n + m) r d)$
    operations; with other costs it takes one pass over all pairs. The problem is not convex, so the answer depends
    on the start: clusters of the centred clouds, or random factors for costs without points.

    A low rank is a condition on the plan and no approximation scheme: in few dimensions the cost stays clearly above
    that of the optimum. The duality gap of the report bounds how far it is, against all plans and not only those of
    this rank.

    Args:
        rank: The number of pivots, at most the number of points of either side.
        max_iter: Limit of the number of steps.
        tol: The steps end when several of them lower the cost by less than this share of its spread.
        seed: Seed of the start and of the sample behind the bound; the same seed gives the same plan.

    Raises:
        InfeasibleError: If a pair is forbidden: every plan of low rank may use it.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.problem import Linear
        >>> from monge.solver import LowRank
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> solve(Linear.between(x, x + 1.0), LowRank(rank=5)).coupling.g.shape
        torch.Size([5])

    Source: Scetbon, Cuturi, Peyré, Low-rank Sinkhorn factorization (arXiv 2103.04737); Scetbon, Cuturi, Low-rank
        optimal transport: approximation, statistics and debiasing (arXiv 2205.12365), for starts by clusters.
    """

    rank: int = 10
    max_iter: int = 200
    tol: float = 1e-4
    seed: int = 0
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "balanced"})

    def __post_init__(self) -> None:
        check_number("rank", self.rank, low=1)
        check_number("max_iter", self.max_iter, low=1)
        check_number("tol", self.tol, low=0.0)
        check_seed("seed", self.seed)

    def _capability(self, case: Case) -> Capability:
        problem, (n, m) = case.problem, case.problem.shape
        if self.rank > min(n, m):
            return Capability.no(
                f"LowRank(rank={self.rank}) needs at least {self.rank} points a side, not {n} and {m}."
            )
        count = math.prod(problem.batch_shape)
        operations = count * (self.max_iter * 100.0 * (n + m) * self.rank + 4.0 * n * m)
        refused = _approximate.mass_refused("LowRank", case)
        return refused or _approximate.able(f"LowRank(rank={self.rank})", operations, 64.0 * (n + m) * self.rank)

    def _solve(self, problem: Linear) -> DualSolution:
        batch, dtype, found = problem.batch_shape, problem.geometry.dtype, []
        for single in _approximate.each_problem(problem.detach()):
            found.append((*self._factored(single), *_approximate.sampled_potentials(single, self.seed)))
        Q, R, pivots, steps, f, g = (_approximate.stacked(list(part), batch) for part in zip(*found, strict=True))
        plan = FactoredCoupling._make(Q=Q.to(dtype), R=R.to(dtype), g=pivots.to(dtype))
        return _approximate.measured(problem, plan, f, g, steps)

    @torch.no_grad()
    def _factored(self, problem: Linear) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The factors of one problem in float64, and the number of steps."""
        problem = problem._widened(torch.float64)
        geometry, mass = problem.geometry, problem.a.sum()
        a, b = problem.a / mass, problem.b / problem.b.sum()
        held = self._start(geometry, a, b)
        held, step, best, idle = _feasible(held, a, b), _STEP, math.inf, 0
        spread, gradients, steps = 0.0, None, 0
        while steps < self.max_iter:
            steps += 1
            trial = held if gradients is None else _moved(held, gradients, step, a, b)
            to_columns, to_rows = _times(geometry, trial.R / trial.g), _times(geometry.T, trial.Q / trial.g)
            inner = (trial.Q * to_columns).sum(0)
            cost = float(inner.sum())
            if not math.isfinite(cost):
                raise InfeasibleError(
                    "LowRank needs finite costs, since a plan of low rank uses all pairs, but a pair costs inf or NaN: "
                    "use Simplex or Sinkhorn, which treat forbidden pairs."
                )
            if cost < best:
                idle = idle + 1 if best - cost <= self.tol * spread else 0
                best, held = cost, trial
                gradients = _centred(to_columns), _centred(to_rows), -inner / trial.g
                spread = max(float(part.abs().max()) for part in gradients[:2])
                if spread <= 1e-14 * abs(cost):
                    break
            else:
                step, idle = step / 2, idle + 1
            if self.rank == 1 or idle >= _PATIENCE:
                break
        Q, R, g = held
        return Q * mass, R * mass, g * mass, torch.tensor(steps, device=g.device)

    def _start(self, geometry: Geometry, a: Tensor, b: Tensor) -> _Factors:
        """Soft clusters of the centred clouds, or random factors."""
        generator, rank = torch.Generator().manual_seed(self.seed), int(self.rank)
        uniform = torch.full((rank,), 1 / rank, dtype=a.dtype, device=a.device)
        if isinstance(geometry, PointCloud):
            x = geometry.x - (a[:, None] * geometry.x).sum(0)
            y = geometry.y - (b[:, None] * geometry.y).sum(0)
            sides = _clusters(x, y, rank, generator)
        else:
            sides = [torch.rand(len(w), rank, generator=generator, dtype=a.dtype).to(a.device) + 0.5 for w in (a, b)]
        Q, R = (w[:, None] * side / side.sum(-1, keepdim=True) for w, side in zip((a, b), sides, strict=True))
        return _Factors(Q, R, uniform)


def _clusters(x: Tensor, y: Tensor, rank: int, generator: torch.Generator) -> list[Tensor]:
    """To which of so many clusters of both clouds together points belong: mostly to the nearest one."""
    both = torch.cat([x, y])
    centres = both[torch.randperm(len(both), generator=generator)[:rank].to(both.device)]
    for _ in range(_LLOYD_STEPS):
        near = _nearest(both, centres)
        count = torch.bincount(near, minlength=rank)
        means = torch.zeros_like(centres).index_add(0, near, both) / count.clamp_min(1)[:, None]
        centres = torch.where(count[:, None] > 0, means, centres)
    near = _nearest(both, centres)
    soft = torch.full((len(both), rank), 0.3 / rank, dtype=x.dtype, device=x.device)
    soft[torch.arange(len(both), device=x.device), near] += 0.7
    return [soft[: len(x)], soft[len(x) :]]


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of every point."""
    return ((centres * centres).sum(-1) - 2 * points @ centres.T).argmin(-1)


def _times(geometry: Geometry, v: Tensor) -> Tensor:
    """C v, through the factors of the cost or block by block."""
    factors = geometry._factors()
    if factors is not None:
        return factors[0] @ (factors[1].T @ v)
    n, m = geometry.shape
    slices = row_blocks(n, 8 * m * max(1, geometry._scalars_per_entry()))
    return torch.cat([geometry._block(rows) @ v for rows in slices])


def _centred(gradient: Tensor) -> Tensor:
    """A gradient less what is the same for all pivots of a point, which its projection takes away anyway."""
    return gradient - gradient.mean(-1, keepdim=True)


def _moved(held: _Factors, gradients: tuple[Tensor, ...], step: float, a: Tensor, b: Tensor) -> _Factors:
    """The factors after one step, feasible."""
    scale = max(float(part.abs().max()) for part in gradients[:2])
    for_pivots = gradients[2] - gradients[2].mean()
    scale = max(scale, float(for_pivots.abs().max()), torch.finfo(a.dtype).tiny)
    shares = (-step / scale * part for part in (*gradients[:2], for_pivots))
    kernels = (
        (part.clamp_min(_LEAST_ENTRY).log() + share).exp().clamp_min(_LEAST_ENTRY)
        for part, share in zip(held, shares, strict=True)
    )
    return _feasible(_projected(_Factors(*kernels), a, b), a, b)


def _projected(kernel: _Factors, a: Tensor, b: Tensor) -> _Factors:
    """The nearest factors of the marginals a and b, and of a common g, in the sense of KL: Dykstra's algorithm."""
    K1, K2, h = kernel
    v1 = v2 = q1 = q2 = q31 = q32 = torch.ones_like(h)
    least = _LEAST_PIVOT / len(h)
    u1, u2 = a / (K1 @ v1), b / (K2 @ v2)
    for _ in range(_PROJECTIONS):
        raised = (h * q31).clamp_min(least)
        q31, h = h * q31 / raised, raised
        w1, w2 = K1.T @ u1, K2.T @ u2
        common = (h * q32 * (v1 * q1 * w1) * (v2 * q2 * w2)) ** (1 / 3)
        next1, next2 = common / w1, common / w2
        q1, q2, q32 = v1 * q1 / next1, v2 * q2 / next2, h * q32 / common
        v1, v2, h = next1, next2, common
        rows, columns = K1 @ v1, K2 @ v2
        missed = float((u1 * rows - a).abs().sum() + (u2 * columns - b).abs().sum())
        u1, u2 = a / rows, b / columns
        if missed <= _PROJECTED:
            break
    return _Factors(u1[:, None] * K1 * v1, u2[:, None] * K2 * v2, h)


def _feasible(held: _Factors, a: Tensor, b: Tensor) -> _Factors:
    """Factors whose marginals are exact: g is the mass that the rows send, and the columns are made to take it."""
    Q = held.Q * (a / held.Q.sum(-1).clamp_min(torch.finfo(a.dtype).tiny))[:, None]
    g = Q.sum(0)
    R = held.R * (b / held.R.sum(-1).clamp_min(torch.finfo(a.dtype).tiny)).clamp_max(1)[:, None]
    R = R * (g / R.sum(0).clamp_min(torch.finfo(a.dtype).tiny)).clamp_max(1)
    row, col = (b - R.sum(-1)).clamp_min(0), (g - R.sum(0)).clamp_min(0)
    total = row.sum().clamp_min(torch.finfo(a.dtype).tiny)
    return _Factors(Q, R + row[:, None] * col / total, g)
