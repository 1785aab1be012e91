"""Exact transport between marginals whose price is curved."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import value
from monge.coupling import SparseCoupling
from monge.problem import Linear
from monge.problem.marginal import Constraint, column

from ._central_path import Reached, central_path
from ._exact import in_double, proved
from ._feasible import check_feasible
from .base import Capability, Case, Solver
from .solution import DualSolution, Status

__all__ = ["InteriorPoint"]


@value
class InteriorPoint(Solver):
    r"""Unbalanced transport without entropy: exact plans and potentials between marginals whose price is curved.

    $$\min_{P \ge 0} \langle C, P\rangle + S(P 1) + T(P^\top 1),$$
    where S or T is the price of `Relaxed`, by "kl", "l2" or a penalty of one's own, and the other one may be any
    marginal. Newton's method follows the central path of the dual in float64, with a system of the size of the smaller
    side in each step; 15 to 50 steps are usual, whatever the costs and prices. Between the marginals at its end the
    network simplex finds a plan of at most n + m - 1 entries. The duality gap of this plan is measured, and the status
    is what it shows: optimal up to rounding, or approximate with a gap below ``tol``.

    The value is differentiable once, by costs, weights and prices. The plan moves with them and is not differentiated.

    Args:
        tol: The duality gap to reach, as a part of the value.
        max_iter: Most Newton steps.
        max_bytes: The most memory that may be used.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear, Relaxed
        >>> side = Relaxed(torch.tensor([1.0]), rho=1.0)
        >>> solution = solve(Linear(CostMatrix(torch.tensor([[2.0]])), side, side))
        >>> solution.coupling.mass, solution.value  # exp(-1), 2 - 2 exp(-1)
        (tensor(0.3679), tensor(1.2642))

    Source: Mehrotra, On the implementation of a primal-dual interior point method (1992), the method; Chizat, Peyré,
        Schmitzer, Vialard, Unbalanced optimal transport: dynamic and Kantorovich formulations, arXiv:1508.05216, the
        problem.
    """

    tol: float = 1e-10
    max_iter: int = 200
    max_bytes: int = 2**32
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact"})

    def __post_init__(self) -> None:
        check_number("tol", self.tol, low=0.0, high=1.0, strict=True)
        check_number("max_iter", self.max_iter, low=1)
        check_number("max_bytes", self.max_bytes, low=1)

    def _capability(self, case: Case) -> Capability:
        problem, (n, m) = case.problem, case.problem.shape
        if "priced" in case.traits:
            return Capability.no("InteriorPoint needs a marginal of curved price, such as Relaxed(a, rho, 'kl').")
        batch = math.prod(problem.batch_shape)
        memory = 8.0 * batch * (_ARRAYS * n * m + 2 * min(n, m) ** 2)
        if memory > self.max_bytes:
            return Capability.no(f"InteriorPoint would use {memory:,.0f} bytes, more than max_bytes.")
        operations = 1e6 + batch * n * m * (1500.0 + 12.0 * min(n, m))
        return Capability(True, operations, f"interior-point steps with {n} x {m} pairs in float64.", memory)

    def _solve(self, problem: Linear) -> DualSolution:
        check_feasible(problem)
        exact = in_double(problem)._stored()
        reached = central_path(exact, self.tol, self.max_iter)
        plan, f, g = _vertex(exact, reached)
        solution = proved(problem, exact, plan, f, g, steps=reached.steps)
        report = solution.report
        if report.status is not Status.OPTIMAL:
            met = report.duality_gap <= self.tol * reached.scale
            spent = reached.steps >= self.max_iter
            status = (
                Status.APPROXIMATE
                if bool(met.all())
                else Status.MAX_ITER
                if bool((spent & ~met).any())
                else report.status
            )
            solution = solution._replace(report=report._replace(status=status))
        return solution


# Matrices of all pairs that are alive in one step, as measured.
_ARRAYS = 16


def _vertex(exact: Linear, reached: Reached) -> tuple[SparseCoupling, Tensor, Tensor]:
    """A plan of few entries between the marginals that were reached, of one mass, and their potentials."""
    batch, (n, m) = exact.batch_shape, exact.shape
    row, col = exact.source._nearest(reached.row), exact.target._nearest(reached.col)
    mass = row.sum(-1) if isinstance(exact.source, Constraint) else col.sum(-1)
    row, col = (mu * column(mass / mu.sum(-1)).nan_to_num(0.0, 0.0) for mu in (row, col))
    cost = exact.geometry._dense().expand(*batch, n, m)
    f, g = _everywhere(exact, reached.f, reached.g)
    i, j, w = kernels.simplex(cost, row, col, potentials=(f, g))[:3]
    return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m), f, g


def _everywhere(exact: Linear, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Potentials, the largest that are feasible where a point has no weight."""
    for_g = torch.where(exact.b > 0, g, -math.inf)
    f = torch.where(exact.a > 0, f, exact.geometry._ctransform(for_g)[0].nan_to_num(0.0, 0.0, 0.0))
    for_f = torch.where(exact.a > 0, f, -math.inf)
    g = torch.where(exact.b > 0, g, exact.geometry.T._ctransform(for_f)[0].nan_to_num(0.0, 0.0, 0.0))
    return f, g
