"""Sparse exact solvers: the assignment problem, and the network simplex for weighted measures."""

from .arcs import Arcs
from .assignment import Matching, assignment
from .bijection import bijection
from .proof import Proof, proof
from .simplex import MOST, Basis, simplex, small

__all__ = ["MOST", "Arcs", "Basis", "Matching", "Proof", "assignment", "bijection", "proof", "simplex", "small"]
