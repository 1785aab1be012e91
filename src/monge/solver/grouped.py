"""Bijections that are nearly optimal, in linear memory."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_number, check_seed
from monge._value import value
from monge.coupling import PermutationCoupling
from monge.errors import InfeasibleError
from monge.geometry import PointCloud
from monge.problem import Linear

from . import _approximate
from ._bisection import Groups, bisected, cosorted
from .base import Capability, Case, Solver
from .solution import DualSolution

__all__ = ["Grouped"]

# Numbers of the cost matrices that are held at once, and passes between two looks at the tolerance: one for each
# kind of key.
_HELD, _KEYS = 2**22, 3


@value
class Grouped(Solver):
    r"""A bijection that is improved group by group, for clouds that are too large for an exact solver.

    The first bijection is found by splitting both clouds at the median along a common principal direction, again and
    again. Each pass then splits the *pairs* $(x_i, y_{\sigma(i)})$ into groups of pairs that lie close together, by
    random directions, and finds the best bijection of each group exactly. The pairs are compared by x, by y and by
    x + y in turn. No pass makes the plan dearer, and the marginals are exact. Memory is linear in the number of points.

    The duality gap of the report is a proved bound. It comes from entropic potentials of a sample, which one streamed
    pass over all pairs makes feasible; for large clouds this pass takes about as long as the passes over the groups.
    The plan is usually closer to the optimum than this bound.

    Args:
        group: The largest number of pairs that are solved together; a group of all pairs is exact.
        max_iter: Limit of the number of passes.
        tol: The passes end when three of them lower the cost by less than this share of it.
        seed: Seed of the directions and of the sample; the same seed gives the same plan.

    Raises:
        InfeasibleError: If a cost that is needed is not finite.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.problem import Linear
        >>> from monge.solver import Grouped
        >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> solution = solve(Linear.between(x, x + 1.0), Grouped())
        >>> bool(solution.value - solution.report.duality_gap <= 2.0)  # the shift costs 2, and is optimal
        True

    Source: Halmos, Gold, Liu, Raphael, Hierarchical refinement: optimal transport to infinity and beyond
        (arXiv 2503.03025), for splitting both clouds again and again; the passes over pairs are this library's.
    """

    group: int = 128
    max_iter: int = 60
    tol: float = 1e-4
    seed: int = 0
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "points", "balanced", "square", "uniform"})

    def __post_init__(self) -> None:
        check_number("group", self.group, low=2)
        check_number("max_iter", self.max_iter, low=1)
        check_number("tol", self.tol, low=0.0)
        check_seed("seed", self.seed)

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        n, d = problem.shape[0], problem.geometry.x.shape[-1]
        count = math.prod(problem.batch_shape)
        operations = count * n * (self.max_iter * self.group * (d + 30.0) + n * (d + 2.0))
        return _approximate.mass_refused("Grouped", case) or _approximate.able(
            "Grouped()", operations, 8.0 * (n * (4 * d + 16) + _HELD * 4)
        )

    def _solve(self, problem: Linear) -> DualSolution:
        batch, found = problem.batch_shape, []
        for single in _approximate.each_problem(problem.detach()):
            found.append(self._bijection(single))
        perm, f, g, passes = (_approximate.stacked(list(parts), batch) for parts in zip(*found, strict=True))
        weights = problem.a.expand(*batch, problem.shape[0]).to(problem.geometry.dtype)
        return _approximate.measured(problem, PermutationCoupling._make(perm=perm, weights=weights), f, g, passes)

    @torch.no_grad()
    def _bijection(self, problem: Linear) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The bijection of one problem, feasible potentials, and the number of passes."""
        geometry = problem.geometry._wide()
        assert isinstance(geometry, PointCloud)
        generator = torch.Generator().manual_seed(self.seed)
        x, y, n = geometry.x, geometry.y, geometry.shape[0]
        if n <= self.group:
            best = kernels.assignment(geometry._dense())
            scale = problem.a.dtype
            return best.perm, best.f.to(scale), best.g.to(scale), torch.ones((), dtype=torch.long, device=x.device)
        perm = cosorted(x, y, min(self.group, 8), generator)
        last, passes = math.inf, 0
        while passes < self.max_iter:
            moved = y[perm]
            keys = (x, moved, x + moved)[passes % _KEYS]
            perm = _regrouped(geometry, perm, bisected(keys, self.group, generator))
            passes += 1
            if passes % _KEYS == 0:
                cost = _mean_cost(geometry, perm)
                if last - cost <= self.tol * abs(cost):
                    break
                last = cost
        f, g = _approximate.sampled_potentials(problem, self.seed)
        return perm, f, g, torch.tensor(passes, device=x.device)


def _regrouped(geometry: PointCloud, perm: Tensor, groups: Groups) -> Tensor:
    """The bijection with the pairs of every group matched anew."""
    order, bounds = groups
    sizes, new = bounds[1:] - bounds[:-1], perm.clone()
    for size in sizes.unique().tolist():
        starts = bounds[:-1][sizes == size]
        for some in starts.split(max(1, _HELD // size**2)):
            rows = order[some[:, None] + torch.arange(size, device=order.device)]
            cols = perm[rows]
            costs = geometry._replace(x=geometry.x[rows], y=geometry.y[cols])._dense()
            if not bool(costs.isfinite().all()):
                raise InfeasibleError(
                    "Grouped needs finite costs, but a pair of points costs inf or NaN: use Assignment or Simplex, "
                    "which treat forbidden pairs."
                )
            new[rows] = cols.gather(-1, kernels.assignment(costs).perm)
    return new


def _mean_cost(geometry: PointCloud, perm: Tensor) -> float:
    rows = torch.arange(len(perm), device=perm.device)
    return float(geometry._entries(rows, perm).double().mean())
