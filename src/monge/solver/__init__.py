"""How problems are solved, and what comes back."""

from .auto import Auto, Explanation, explain
from .base import Capability, Solver
from .simplex import Simplex
from .sinkhorn import Sinkhorn
from .solution import DualSolution, Report, Solution, Status
from .solve import solve
from .sorted import Sorted

__all__ = [
    "Auto",
    "Capability",
    "DualSolution",
    "Explanation",
    "Report",
    "Simplex",
    "Sinkhorn",
    "Solution",
    "Solver",
    "Sorted",
    "Status",
    "explain",
    "solve",
]
