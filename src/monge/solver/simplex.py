"""Exact transport by the network simplex."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from monge import kernels
from monge._arrays import pieces, rows_per_block
from monge._checks import check_number
from monge._value import value
from monge.coupling import Coupling, SparseCoupling
from monge.geometry import SparseCost
from monge.problem import Linear

from ._dummies import extend
from ._exact import Exact, of_few_points, rounding
from .base import Capability, Case
from .solution import DualSolution, initial_potentials

__all__ = ["Simplex"]

# From this dimension on a stored cost is read faster than it is computed again.
_MATRIX_DIMENSION = 8
_SMALL_MATRIX = 2**28


@value
class Simplex(Exact):
    r"""The network simplex: exact plans and potentials for any weights.

    Balanced problems are solved directly; if the cost is a norm of differences of points, no cost matrix is built.
    Problems with marginals that may be missed at a linear price (`AtMost`, `Free`, total variation, a given mass) are
    turned into balanced problems with one dummy point on each side. Everything runs in float64, and the problems of a
    batch in parallel. The answer is a vertex, with at most n + m - 1 entries, and its duality gap is measured. The
    value is differentiable; the plan is locally constant in the cost. Where several plans or potentials are optimal,
    the value has a kink: its derivative by costs and prices follows from the plan that is returned, and by weights and
    mass from the potentials that are returned.

    Args:
        init: Potentials to start from: a pair (f, g) or an earlier solution. They change the time but not the value.
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
        listed, pairs = _listed(problem), _pairs(problem)
        memory = 8.0 * n * m if listed is None else 200.0 * (n + m) + (48.0 * pairs if pairs < n * m else 0.0)
        if memory > self.max_bytes:
            return Capability.no(f"Simplex would build {8 * n * m:,} bytes of costs, more than max_bytes.")
        # Measured on clouds of 250 to 4000 points; the constant is what a call costs.
        operations = math.prod(problem.batch_shape) * (1e5 + 60.0 * pairs**1.125)
        told = f"{n} x {m}" if pairs == n * m else f"{pairs} of {n} x {m}"
        reason = f"network simplex on {told} pairs in float64, problems in parallel."
        return Capability(True, operations, reason, memory)

    def _small(self, exact: Linear, error: float) -> tuple[Coupling, kernels.Proof] | None:
        found = of_few_points(exact, error) if self.init is None else None
        if found is None:
            return None
        (i, j, w, shown), (n, m) = found, exact.shape
        return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m), shown

    def _reads_matrix(self, exact: Linear) -> bool:
        size = 8 * math.prod(exact.geometry.batch_shape) * math.prod(exact.shape)
        return size <= _SMALL_MATRIX and _listed(exact) is None

    def _optimal(self, problem: Linear, exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
        (n, m), batch = problem.shape, exact.batch_shape
        guesses = None if self.init is None else initial_potentials(self.init, exact)
        step = rows_per_block(8 * _pairs(exact), _SMALL_MATRIX)
        if batch.numel() <= step:
            basis = _basis(exact, guesses, rounding(problem))
        else:
            places, found = torch.unravel_index(torch.arange(batch.numel()), batch), []
            for some in pieces(batch.numel(), step):
                index = tuple(place[some] for place in places)
                own = None if guesses is None else (guesses[0][index], guesses[1][index])
                found.append(_basis(exact._select(index), own, rounding(problem)))
            longest = max(held.w.shape[-1] for held in found)
            lists = (
                torch.cat([pad(part, (0, longest - part.shape[-1])) for part in parts])
                for parts in zip(*(held[:3] for held in found), strict=True)
            )
            sides = (torch.cat(parts) for parts in zip(*(held[3:] for held in found), strict=True))
            basis = kernels.Basis(*(part.reshape(*batch, part.shape[-1]) for part in (*lists, *sides)))
        i, j, w, f, g = (part.expand(*batch, part.shape[-1]) for part in basis)
        return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m), f, g


def _basis(problem: Linear, guesses: Sequence[Tensor] | None, error: float) -> kernels.Basis:
    """The answers to a batch of problems, with dummies where marginals may be missed."""
    cost: kernels.Points | kernels.Arcs | Tensor | None = _listed(problem)
    if cost is None:
        cost = problem.geometry._dense()
    potentials = None if guesses is None else (guesses[0], guesses[1])
    if problem.balanced:
        return kernels.simplex(cost, problem.a, problem.b, potentials=potentials, rounding=error)
    assert isinstance(cost, Tensor)
    extended = extend(problem, cost)
    if potentials is not None:
        # The dummies' own potentials are zero, but for those of a mass, which follow from the others.
        potentials = pad(potentials[0], (0, 1)), pad(potentials[1], (0, 1))
    found = kernels.simplex(extended.cost, extended.a, extended.b, potentials=potentials, rounding=error)
    return extended.restrict(found)


def _pairs(problem: Linear) -> int:
    """How many pairs the loop looks at."""
    return len(listed.i) if isinstance(listed := _listed(problem), kernels.Arcs) else math.prod(problem.shape)


def _listed(problem: Linear) -> kernels.Points | kernels.Arcs | None:
    """The costs as points, if the kernel should compute them on the fly, or in a list, if most pairs may not meet."""
    geometry = problem.geometry
    if isinstance(geometry, SparseCost) and problem.balanced:
        return kernels.Arcs(geometry.i, geometry.j, geometry.cost, geometry.n, geometry.m)
    pairs = geometry._pairs() if problem.balanced else None
    if not isinstance(pairs, kernels.Points):
        return None
    n, m = problem.shape
    low = pairs.x.shape[-1] <= _MATRIX_DIMENSION
    return pairs if low or 8 * n * m > _SMALL_MATRIX else None
