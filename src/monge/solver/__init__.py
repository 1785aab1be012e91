"""How problems are solved, and what comes back."""

from .base import Capability, Solver
from .sinkhorn import Sinkhorn
from .solution import DualSolution, Report, Solution, Status

__all__ = ["Capability", "DualSolution", "Report", "Sinkhorn", "Solution", "Solver", "Status"]
