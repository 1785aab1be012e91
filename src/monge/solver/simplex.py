"""Exact transport by the network simplex."""

from __future__ import annotations

import math
from itertools import product
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import value
from monge.coupling import SparseCoupling
from monge.errors import DenseLimitError
from monge.kernels import Basis
from monge.problem import Linear

from ._dummies import extend
from ._exact import conclude_exact, in_double, rounding, stored
from ._feasible import explained
from .base import Capability, Case, Solver
from .solution import DualSolution

__all__ = ["Simplex"]

# From this dimension on a stored cost is read faster than it is computed again.
_MATRIX_DIMENSION = 8
_SMALL_MATRIX = 2**28


@value
class Simplex(Solver):
    r"""The network simplex: exact plans and potentials for any weights.

    Balanced problems are solved as they are, from points without a cost matrix where the cost is a norm. Marginals that
    may be missed at a linear price (`AtMost`, `Free`, total variation, a given mass) become a balanced problem with one
    dummy point on each side. Everything runs in float64; the answer is a vertex, with at most n + m - 1 entries, and
    its duality gap is measured. The value is differentiable; the plan is locally constant in the cost. Where several
    plans or potentials are optimal the value has a kink: its derivative by costs and prices is that of the plan
    returned, by weights and mass that of the potentials returned.

    Args:
        init: Potentials to start from: a pair (f, g) or an earlier solution. They change the time, not the value.
        max_bytes: The largest cost matrix that may be built where one is needed.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear
        >>> from monge.solver import Simplex
        >>> Simplex()._solve(Linear(CostMatrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]])))).value
        tensor(0.)

    Source: Ahuja, Magnanti, Orlin, Network Flows (1993), chapter 11.
    """

    init: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | DualSolution | None = None
    max_bytes: int = 2**32
    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "priced"})

    def __post_init__(self) -> None:
        check_number("max_bytes", self.max_bytes, low=1)

    def _capability(self, case: Case) -> Capability:
        problem = case.problem
        n, m = problem.shape
        memory = 8.0 * n * m if _points(problem) is None else 200.0 * (n + m)
        if memory > self.max_bytes:
            return Capability.no(f"Simplex would build {8 * n * m:,} bytes of costs, more than max_bytes.")
        # Measured on clouds of 250 to 4000 points; the constant is what a call costs.
        operations = math.prod(problem.batch_shape) * (1e5 + 60.0 * (n * m) ** 1.125)
        reason = f"network simplex on {n} x {m} pairs in float64, problem after problem."
        return Capability(True, operations, reason, memory)

    def _solve(self, problem: Linear) -> DualSolution:
        exact = in_double(problem)
        n, m = problem.shape
        batch = exact.batch_shape
        if _points(exact) is None:
            exact = stored(exact, _SMALL_MATRIX)
        places = list(product(*(range(size) for size in batch)))
        guesses = self._guesses(batch, (n, m))
        error = rounding(problem)
        with explained(problem):
            solved = [self._one(exact._select(at) if batch else exact, guesses, at, error) for at in places]
        longest = max((len(basis.w) for basis in solved), default=0)
        f, g = exact.a.new_empty(len(solved), n), exact.b.new_empty(len(solved), m)
        w = exact.a.new_zeros(len(solved), longest)
        i, j = torch.zeros_like(w, dtype=torch.long), torch.zeros_like(w, dtype=torch.long)
        for k, basis in enumerate(solved):
            used = len(basis.w)
            i[k, :used], j[k, :used], w[k, :used], f[k], g[k] = basis
        i, j, w, f, g = (part.reshape(*batch, part.shape[-1]) for part in (i, j, w, f, g))
        return conclude_exact(problem, exact, SparseCoupling._make(i=i, j=j, w=w, n=n, m=m), f, g)

    def _one(self, problem: Linear, guesses: tuple[Tensor, Tensor] | None, at: tuple[int, ...], error: float) -> Basis:
        a, b = problem.a, problem.b
        guess = None if guesses is None else (guesses[0][at], guesses[1][at])
        if problem.balanced:
            points = _points(problem)
            cost = self._matrix(problem) if points is None else points
            return kernels.simplex(cost, a, b, potentials=guess, rounding=error)
        extended = extend(problem, self._matrix(problem), a, b)
        if guess is not None:
            # The dummies' own potentials are zero, but for those of a mass, which follow from the others.
            guess = (torch.cat([guess[0], guess[0].new_zeros(1)]), torch.cat([guess[1], guess[1].new_zeros(1)]))
        basis = kernels.simplex(extended.cost, extended.a, extended.b, potentials=guess, rounding=error)
        return extended.restrict(basis)

    def _guesses(self, batch: torch.Size, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        if self.init is None:
            return None
        f, g = (self.init.f, self.init.g) if isinstance(self.init, DualSolution) else self.init
        return f.detach().expand(*batch, shape[0]), g.detach().expand(*batch, shape[1])

    def _matrix(self, problem: Linear) -> Tensor:
        n, m = problem.shape
        if 8 * n * m > self.max_bytes:
            raise DenseLimitError(
                f"Simplex needs the {n} x {m} cost in float64, {8 * n * m:,} bytes, more than max_bytes="
                f"{self.max_bytes:,}: use Sinkhorn with a small epsilon, or Simplex(max_bytes=...)."
            )
        return problem.geometry.dense(self.max_bytes)


def _points(problem: Linear) -> kernels.Points | None:
    """The costs as points, if the kernel should compute them on the fly."""
    pairs = problem.geometry._pairs() if problem.balanced else None
    if not isinstance(pairs, kernels.Points):
        return None
    n, m = problem.shape
    low = pairs.x.shape[-1] <= _MATRIX_DIMENSION
    return pairs if low or 8 * n * m > _SMALL_MATRIX else None
