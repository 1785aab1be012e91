"""Exact transport between equal numbers of points with equal weights: a bijection."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import value
from monge.coupling import Coupling, PermutationCoupling
from monge.geometry import CostMatrix, SparseCost
from monge.problem import Linear

from ._exact import Exact
from .base import Capability, Case

__all__ = ["Assignment"]


@value
class Assignment(Exact):
    r"""The assignment problem: the cheapest bijection, $\min_\sigma \sum_i C_{i\sigma(i)} / n$.

    By Birkhoff's theorem, there is an optimal plan between n points and n points of equal weights that is a
    permutation. It is found exactly, in float64, together with potentials, and the duality gap is measured. The
    problems of a batch are solved in parallel. The value is differentiable; the bijection is locally constant.

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
        if isinstance(problem.geometry, SparseCost):
            return Capability.no("Assignment reads a matrix of costs, and not a list of pairs as Simplex does.")
        if 8 * n * n > self.max_bytes:
            return Capability.no(f"Assignment would build {8 * n * n:,} bytes of costs, more than max_bytes.")
        # Measured on clouds of 250 to 4000 points; the constant is what a call costs.
        problems = math.prod(problem.batch_shape)
        reason = f"cheapest bijection of {n} points, cost matrices in float64."
        return Capability(True, 5e4 + 20.0 * problems * n**2.25, reason, 8.0 * problems * n * n)

    def _reads_matrix(self, exact: Linear) -> bool:
        return True

    def _optimal(self, problem: Linear, exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
        n, batch = problem.shape[0], problem.batch_shape
        assert isinstance(exact.geometry, CostMatrix)
        perm, f, g = (part.expand(*batch, n) for part in kernels.assignment(exact.geometry.cost))
        return PermutationCoupling._make(perm=perm, weights=exact.a.expand(*batch, n)), f, g
