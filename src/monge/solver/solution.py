"""The answer of a solver: the plan, the value, and measurements of both."""

from __future__ import annotations

from enum import Enum
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from monge._value import Value, value
from monge.coupling import Coupling, TransportMap
from monge.errors import ShapeError
from monge.problem import Linear, Problem

__all__ = ["DualSolution", "Report", "Solution", "Status", "initial_potentials"]


class Status(Enum):
    """How a solver stopped; of a batch, the worst of its problems."""

    OPTIMAL = "Optimal: the plan is exact up to rounding, as its duality gap shows."
    CONVERGED = "Converged: the marginal error is below the tolerance."
    APPROXIMATE = "Approximate: the plan is feasible, and its duality gap bounds how far it is from optimal."
    FIXED = "Finished: the fixed number of iterations is done; look at the marginal error."
    PRECISION = (
        "Stopped by rounding: the plan cannot be shown to meet the tolerance in this dtype at this epsilon; "
        "use float64 or a larger epsilon."
    )
    MAX_ITER = "Stopped at max_iter before the tolerance was met; raise max_iter or epsilon, or use Newton."
    UNMET = (
        "Stopped at the maximum of the dual: a plan with so few nonzeros misses a marginal there, by what the report "
        "says; allow more nonzeros or raise epsilon."
    )

    @property
    def ok(self) -> bool:
        """Whether the solver did what it was asked."""
        return self in (Status.OPTIMAL, Status.CONVERGED, Status.APPROXIMATE, Status.FIXED)


@value
class Report(Value):
    """Measurements of the plan that is returned, one number per problem of the batch.

    Args:
        status: How the solver stopped, the worst over the batch.
        marginal_error: L1 distance between both marginals of this plan and those that the potentials imply (for fixed
            marginals: the weights), relative to the mass that is asked for. It is summed entry by entry in the dtype
            of the plan. Where rounding may hide a larger error than was found, this is the estimate of the hidden
            error. It is never less than the error that was measured, and inf where the plan is not finite.
        duality_gap: The primal value less the dual value; violated constraints are priced at the largest potential.
        iterations: The number of iterations; each is a new pair of potentials or one Newton step.
        epsilon: The epsilon that was used, in units of the cost.
    """

    status: Status
    marginal_error: Float[Tensor, "*b"]
    duality_gap: Float[Tensor, "*b"]
    iterations: Int[Tensor, "*b"]
    epsilon: Float[Tensor, "*b"]


@value
class Solution(Value):
    """A plan, the objective it reaches, and how well it was solved.

    Args:
        coupling: The plan.
        value: The objective that was minimised, differentiable as the solver's ``gradient`` says.
        report: Measurements of the plan.
        problem: What was solved.
    """

    coupling: Coupling
    value: Float[Tensor, "*b"]
    report: Report
    problem: Problem

    @property
    def terms(self) -> Any:
        """The parts of the objective of the plan, as in ``problem.terms``: cost, entropy, and a price for each side."""
        return self.problem.terms(self.coupling)

    def map(self, points: Float[Tensor, "..."], *, method: str | None = None) -> Float[Tensor, "..."]:
        """Where points go that the plan has not seen; `monge.coupling.TransportMap` explains the methods."""
        return self.coupling.map(points, method=method)


@value
class DualSolution(Solution):
    """A solution with the potentials that prove it.

    Args:
        coupling: The plan.
        value: The objective that was minimised, differentiable as the solver's ``gradient`` says.
        report: Measurements of the plan.
        problem: What was solved.
        f: Potential of the rows.
        g: Potential of the columns. In balanced problems the pair is normalised by <a, f> = <b, g>.
    """

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]

    def map(self, points: Float[Tensor, "..."], *, method: str | None = None) -> Float[Tensor, "..."]:
        """Where points go that the plan has not seen; by default through the potentials ("brenier" if it is exact)."""
        if method is None and "exact" in self.problem.traits:
            method = "brenier"
        return TransportMap(self.coupling, method, (self.f, self.g) if method == "brenier" else None)(points)


def initial_potentials(init: tuple[Tensor, Tensor] | DualSolution, problem: Linear) -> list[Tensor]:
    """Potentials (*b, n) and (*b, m) to start from, checked against the problem, as constants in its dtype."""
    found = []
    given = (init.f, init.g) if isinstance(init, DualSolution) else init
    for name, potential, n in zip("fg", given, problem.shape, strict=True):
        if potential.shape[-1] != n:
            raise ShapeError(
                f"init: {name} must have {n} entries, one per point, but has {potential.shape[-1]}: use potentials of "
                "a problem between the same numbers of points."
            )
        found.append(potential.detach().to(problem.a.dtype).broadcast_to((*problem.batch_shape, n)))
    return found
