"""Exact transport between equal numbers of points with equal weights: a bijection."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import value
from monge.coupling import Coupling, PermutationCoupling
from monge.geometry import CostMatrix, PointCloud, SparseCost
from monge.problem import Linear

from ._exact import Exact, in_double, of_few_points, proved, rounding
from .base import Capability, Case
from .solution import DualSolution

__all__ = ["Assignment"]

# Fewer points, or so many coordinates for each, are matched sooner from their matrix.
_FEW, _COORDINATES = 256, 0.5


@value
class Assignment(Exact):
    r"""The assignment problem: the cheapest bijection, $\min_\sigma \sum_i C_{i\sigma(i)} / n$.

    By Birkhoff's theorem, there is an optimal plan between n points and n points of equal weights that is a
    permutation. It is found exactly, in float64, together with potentials, and the duality gap is measured. The value
    is differentiable; the bijection is locally constant.

    Between clouds of points under squared Euclidean costs, from 256 points on, no matrix is built: `kernels.bijection`
    looks at a few columns of each row, and proves its answer by a search over all pairs. Inputs that it gives up, such
    as many points at few places, are solved as other costs are: from the matrix, the problems of a batch in parallel,
    or, if that is larger than `max_bytes`, by the network simplex, which takes longer.

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
        clouds = _near(problem)
        if clouds is not None:
            problems, d = math.prod(problem.batch_shape), clouds.x.shape[-1]
            reason = f"cheapest bijection of {n} points, a few columns of each row, proved over all pairs in float64."
            # Measured on Gaussian clouds of 1000 to 10,000 points in 2 to 16 dimensions.
            operations = 5e4 + problems * (2e7 + 1.5 * (4 + d) * n**2)
            return Capability(True, operations, reason, (900.0 + 48 * d) * n)
        if 8 * n * n > self.max_bytes:
            return Capability.no(f"Assignment would build {8 * n * n:,} bytes of costs, more than max_bytes.")
        # Measured on clouds of 250 to 4000 points; the constant is what a call costs.
        problems = math.prod(problem.batch_shape)
        reason = f"cheapest bijection of {n} points, cost matrices in float64."
        return Capability(True, 5e4 + 20.0 * problems * n**2.25, reason, 8.0 * problems * n * n)

    def _solve(self, problem: Linear) -> DualSolution:
        if _near(problem) is not None:
            exact = in_double(problem)
            found = _bijections(exact)
            if found is not None:
                return proved(problem, exact, *found, feasible=True)
        return super()._solve(problem)

    def _small(self, exact: Linear, error: float) -> tuple[Coupling, kernels.Proof] | None:
        found = of_few_points(exact, error)
        if found is None:
            return None
        *_, perm, _, shown = found
        return PermutationCoupling._make(perm=perm, weights=exact.a.expand(perm.shape)), shown

    def _reads_matrix(self, exact: Linear) -> bool:
        return 8 * exact.shape[0] ** 2 <= self.max_bytes

    def _optimal(self, problem: Linear, exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
        n, batch = problem.shape[0], problem.batch_shape
        if self._reads_matrix(exact):
            assert isinstance(exact.geometry, CostMatrix)
            perm, f, g = (part.expand(*batch, n) for part in kernels.assignment(exact.geometry.cost))
        else:
            pairs = exact.geometry._pairs()
            assert pairs is not None
            found = kernels.simplex(pairs, exact.a, exact.b, rounding=rounding(problem))
            perm, f, g = torch.zeros_like(found.i).scatter(-1, found.i, found.j), found.f, found.g
        return PermutationCoupling._make(perm=perm, weights=exact.a.expand(*batch, n)), f, g


def _near(problem: Linear) -> PointCloud | None:
    """The clouds whose bijection is looked for among near points, without a matrix; None for all other problems."""
    geometry, n = problem.geometry, problem.shape[0]
    if not (isinstance(geometry, PointCloud) and geometry._is_squared_euclidean and kernels.AVAILABLE):
        return None
    return geometry if n >= _FEW and geometry.x.shape[-1] <= _COORDINATES * n else None


def _bijections(exact: Linear) -> tuple[Coupling, Tensor, Tensor] | None:
    """The answers to a batch of problems between clouds; None if one of them was given up."""
    assert isinstance(exact.geometry, PointCloud)
    n, batch, geometry = exact.shape[0], exact.batch_shape, exact.geometry
    x, y = (cloud.expand(*batch, n, -1).reshape(-1, n, cloud.shape[-1]) for cloud in (geometry.x, geometry.y))
    found = []
    for pair in zip(x, y, strict=True):
        answer = kernels.bijection(*pair)
        if answer is None:
            return None
        found.append(answer)
    perm, f, g = (torch.stack(parts).reshape(*batch, n) for parts in zip(*found, strict=True))
    return PermutationCoupling._make(perm=perm, weights=exact.a.expand(*batch, n)), f, g
