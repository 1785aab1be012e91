"""Solvers, and the solutions that they return."""

from .assignment import Assignment
from .base import Capability, Case, Solver
from .candidates import CANDIDATES
from .newton import Newton
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .solution import DualSolution, Report, Solution, Status
from .solve import Auto, Explanation, check_problem, solution_of, solve, warned_solution
from .sorted import Sorted
from .symmetric import Symmetric

__all__ = [
    "CANDIDATES",
    "Assignment",
    "Auto",
    "Capability",
    "Case",
    "DualSolution",
    "Explanation",
    "Newton",
    "Report",
    "Simplex",
    "Sinkhorn",
    "Solution",
    "Solver",
    "Sorted",
    "Status",
    "Symmetric",
    "check_problem",
    "solution_of",
    "solve",
    "warned_solution",
]
