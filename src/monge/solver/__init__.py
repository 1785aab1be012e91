"""How problems are solved, and what comes back."""

from .base import Capability, Solver
from .solution import DualSolution, Report, Solution, Status

__all__ = ["Capability", "DualSolution", "Report", "Solution", "Solver", "Status"]
