"""The functions that most people need. Each of them makes a problem, solves it, and returns a part of the answer."""

from .affine_map import AffineMap
from .barycenter import Barycenter, barycenter
from .barycenter_on import barycenter_on
from .citation import citation
from .couple import couple
from .couple_ahead import couple_ahead
from .divergence import divergence
from .divergence_test import DivergenceTest, divergence_test
from .explain import explain
from .gaussian import Gaussian
from .linear_assignment import Matched, linear_assignment
from .pairwise import pairwise
from .wasserstein import wasserstein

__all__ = [
    "AffineMap",
    "Barycenter",
    "DivergenceTest",
    "Gaussian",
    "Matched",
    "barycenter",
    "barycenter_on",
    "citation",
    "couple",
    "couple_ahead",
    "divergence",
    "divergence_test",
    "explain",
    "linear_assignment",
    "pairwise",
    "wasserstein",
]
