"""Solving for functions whose answer has no room for a report."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from monge.errors import ConvergenceWarning
from monge.solver import Solution, Solver, Status, solve

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["answer", "warn_unless"]


def answer(problem: Linear, solver: Solver | None) -> Solution:
    """The solution; a warning if it misses the tolerance, since nobody will see the report."""
    solution = solve(problem, solver)
    # Where rounding stopped a solver it has said so itself, with a `PrecisionWarning`.
    if solution.report.status is Status.MAX_ITER:
        worst = float(solution.report.marginal_error.max())
        warn_unless(False, f"{Status.MAX_ITER.value} The marginal error is {worst:.1e}.")
    return solution


def warn_unless(converged: bool, told: str) -> None:
    """A `ConvergenceWarning` that points at the caller of the library."""
    if not converged:
        warnings.warn(told, ConvergenceWarning, stacklevel=4)
