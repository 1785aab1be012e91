"""Sparse exact solvers: the assignment problem, and the network simplex for weighted measures."""

from .assignment import Matching, assignment
from .simplex import Basis, simplex

__all__ = ["Basis", "Matching", "assignment", "simplex"]
