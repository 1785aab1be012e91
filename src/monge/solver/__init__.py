"""Solvers, and the solutions that they return."""

from monge._value import value

from ._exact import Exact
from .assignment import Assignment
from .base import Capability, Case, Solver
from .candidates import SOLVERS
from .grouped import Grouped
from .interior_point import InteriorPoint
from .low_rank import LowRank
from .newton import Newton
from .semi_dual import SemiDual
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .solution import DualSolution, Report, Solution, Status
from .solve import Auto, Explanation, candidates, check_problem, estimated_seconds, solution_of, solve, warned_solution
from .sorted import Sorted
from .symmetric import Symmetric

__all__ = [
    "SOLVERS",
    "Assignment",
    "Auto",
    "Capability",
    "Case",
    "DualSolution",
    "Exact",
    "Explanation",
    "Grouped",
    "InteriorPoint",
    "LowRank",
    "Newton",
    "Report",
    "SemiDual",
    "Simplex",
    "Sinkhorn",
    "Solution",
    "Solver",
    "Sorted",
    "Status",
    "Symmetric",
    "candidates",
    "check_problem",
    "estimated_seconds",
    "solution_of",
    "solve",
    "value",
    "warned_solution",
]
