"""Solving for functions whose answer has no room for a report."""

from __future__ import annotations

import warnings

from monge.errors import CapabilityError, ConvergenceWarning
from monge.problem import Problem
from monge.solver import DualSolution, Solution, Solver, Status, solution_of

__all__ = ["dual_solution", "warn_unless", "warned_solution"]


def warned_solution(problem: Problem, solver: Solver | None) -> Solution:
    """The solution; a warning if it misses the tolerance, since nobody will see the report."""
    solution = solution_of(problem, solver)
    # Where rounding stopped a solver it has said so itself, with a `PrecisionWarning`.
    if solution.report.status is Status.MAX_ITER:
        worst = float(solution.report.marginal_error.max())
        warn_unless(False, f"{Status.MAX_ITER.value} The marginal error is {worst:.1e}.")
    return solution


def dual_solution(problem: Problem, solver: Solver | None) -> DualSolution:
    """The same, with the potentials that the divergence is made of."""
    solution = warned_solution(problem, solver)
    if not isinstance(solution, DualSolution):
        raise CapabilityError(f"The divergence is made of potentials, and {solver} finds none: use Sinkhorn or Newton.")
    return solution


def warn_unless(converged: bool, told: str) -> None:
    """A `ConvergenceWarning` that points at the caller of the library."""
    if not converged:
        warnings.warn(told, ConvergenceWarning, stacklevel=4)
