"""The face: the functions that most people need, each a few lines over problems and solvers."""

from .couple import couple
from .divergence import divergence
from .pairwise import pairwise
from .wasserstein import wasserstein

__all__ = ["couple", "divergence", "pairwise", "wasserstein"]
