"""Exact transport between equal numbers of equal points: a bijection."""

from __future__ import annotations

import math
from typing import ClassVar

from monge import kernels
from monge._checks import check_number
from monge._value import value
from monge.coupling import PermutationCoupling
from monge.errors import DenseLimitError
from monge.problem import Linear

from ._exact import conclude_exact, in_double, stored
from ._feasible import explained
from .base import Capability, Case, Solver
from .solution import DualSolution

__all__ = ["Assignment"]


@value
class Assignment(Solver):
    r"""The assignment problem: the cheapest bijection, $\min_\sigma \sum_i C_{i\sigma(i)} / n$.

    By Birkhoff's theorem some optimal plan between n points and n points of equal weights is a permutation. It is found
    exactly, in float64, the problems of a batch in parallel, together with potentials whose duality gap is measured.
    The value is differentiable; the bijection is locally constant.

    Args:
        max_bytes: The largest cost matrix of one problem that may be built.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear
        >>> from monge.solver import Assignment
        >>> Assignment()._solve(Linear(CostMatrix(torch.tensor([[4.0, 1.0], [2.0, 3.0]])))).coupling.perm
        tensor([1, 0])

    Source: Jonker, Volgenant, A shortest augmenting path algorithm for dense and sparse linear assignment problems
        (1987).
    """

    max_bytes: int = 2**32
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "priced", "balanced", "square", "uniform"})

    def __post_init__(self) -> None:
        check_number("max_bytes", self.max_bytes, low=1)

    def _capability(self, case: Case) -> Capability:
        n, problem = case.problem.shape[0], case.problem
        if 8 * n * n > self.max_bytes:
            return Capability.no(f"Assignment would build {8 * n * n:,} bytes of costs, more than max_bytes.")
        # Measured on clouds of 250 to 4000 points; the constant is what a call costs.
        problems = math.prod(problem.batch_shape)
        reason = f"cheapest bijection of {n} points, cost matrices in float64."
        return Capability(True, 5e4 + 20.0 * problems * n**2.25, reason, 8.0 * problems * n * n)

    def _solve(self, problem: Linear) -> DualSolution:
        n, batch = problem.shape[0], problem.batch_shape
        if 8 * n * n > self.max_bytes:
            raise DenseLimitError(
                f"Assignment builds the {n} x {n} cost in float64, {8 * n * n:,} bytes, more than max_bytes="
                f"{self.max_bytes:,}: use Simplex, which needs no matrix for norms, or raise max_bytes."
            )
        exact = in_double(problem)
        exact = stored(exact, math.prod(batch) * self.max_bytes)
        with explained(problem):
            perm, f, g = kernels.assignment(exact.geometry.dense(math.prod(batch) * self.max_bytes))
        weights = exact.a.expand(*batch, n)
        perm, f, g = (part.expand(*batch, n) for part in (perm, f, g))
        return conclude_exact(problem, exact, PermutationCoupling._make(perm=perm, weights=weights), f, g)
