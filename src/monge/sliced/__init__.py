"""Transport on slices: directions, one-dimensional problems, and the distances and plans that are built from them.

Four modules hold more specialised functions: `monge.sliced.partial`, `monge.sliced.sphere`, `monge.sliced.plan` and
`monge.sliced.gromov`. The names that are used most can be imported from here too, and `Linear` is `LinearSlicer`.
"""

import warnings
from typing import Any

from . import gromov, partial, plan, sphere
from .directions import directions, frames, rotations
from .embedding import sliced_embedding
from .estimate import Estimate, estimate, refine
from .gromov import Gromov, gromov_cost, sliced_gromov_wasserstein
from .laws import (
    distributional_sliced_wasserstein,
    energy_based_sliced_wasserstein,
    max_sliced_wasserstein,
    random_path_directions,
)
from .line import Balanced, Circular, LinearCircular, LineProblem
from .pairwise import pairwise_sliced_wasserstein
from .partial import Partial, partial_cost, partial_profile, sliced_partial_wasserstein
from .plan import Sliced, best_sliced_plan, expected_sliced_plan, search_direction
from .slicer import Augmented, LinearSlicer, Network, Polynomial, Slicer, Spheres
from .sphere import GreatCircles, circular_wasserstein, spherical_sliced_wasserstein
from .tree import TreeSystem, tree_sliced_wasserstein, tree_system
from .unbalanced import Unbalanced, unbalanced_sliced_wasserstein
from .wasserstein import sliced_wasserstein

Linear = LinearSlicer

__all__ = [
    "Augmented",
    "Balanced",
    "Circular",
    "Estimate",
    "GreatCircles",
    "Gromov",
    "LineProblem",
    "Linear",
    "LinearCircular",
    "LinearSlicer",
    "Network",
    "Partial",
    "Polynomial",
    "Sliced",
    "Slicer",
    "Spheres",
    "TreeSystem",
    "Unbalanced",
    "best_sliced_plan",
    "circular_wasserstein",
    "directions",
    "distributional_sliced_wasserstein",
    "energy_based_sliced_wasserstein",
    "estimate",
    "expected_sliced_plan",
    "frames",
    "gromov_cost",
    "max_sliced_wasserstein",
    "pairwise_sliced_wasserstein",
    "partial_cost",
    "partial_profile",
    "random_path_directions",
    "refine",
    "rotations",
    "search_direction",
    "sliced_embedding",
    "sliced_gromov_wasserstein",
    "sliced_partial_wasserstein",
    "sliced_wasserstein",
    "spherical_sliced_wasserstein",
    "tree_sliced_wasserstein",
    "tree_system",
    "unbalanced_sliced_wasserstein",
]


def __getattr__(name: str) -> Any:
    """Names that moved to a face of their own, which are told where they are."""
    for face in (partial, sphere, plan, gromov):
        if name in face.__all__:
            warnings.warn(f"monge.sliced.{name} is now {face.__name__}.{name}.", DeprecationWarning, stacklevel=2)
            return getattr(face, name)
    raise AttributeError(f"module 'monge.sliced' has no attribute {name!r}")
