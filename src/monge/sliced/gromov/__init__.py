"""Gromov-Wasserstein by slices: clouds in different spaces are compared by the distances within each of them."""

from .plan import best_gromov_plan
from .profiles import distance_profiles
from .slicer import GromovSlicer
from .wasserstein import Gromov, gromov_cost, sliced_gromov_wasserstein

__all__ = [
    "Gromov",
    "GromovSlicer",
    "best_gromov_plan",
    "distance_profiles",
    "gromov_cost",
    "sliced_gromov_wasserstein",
]
