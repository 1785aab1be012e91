"""Transport on slices: directions, one-dimensional problems, and the distances and plans built from them."""

from .circular import (
    circular_barycenter_density,
    circular_embedding,
    circular_plan,
    circular_wasserstein,
    linear_circular_wasserstein,
)
from .directions import directions, frames, rotations
from .estimate import Estimate, estimate
from .laws import (
    distributional_sliced_wasserstein,
    energy_based_sliced_wasserstein,
    max_sliced_wasserstein,
    random_path_directions,
)
from .line import Balanced, Circular, LinearCircular, LineProblem
from .pairwise import pairwise_sliced_wasserstein
from .partial import (
    CircularPartial,
    Partial,
    circular_partial_cost,
    circular_partial_plan,
    partial_cost,
    partial_plan,
)
from .partial_profile import PartialProfile, circular_partial_profile, partial_profile
from .partial_signal import partial_transport_lp, signal_graph, sliced_partial_transport_lp
from .partial_wasserstein import sliced_partial_wasserstein, spherical_sliced_partial_wasserstein
from .plan import best_sliced_plan, expected_sliced_plan, lifted_plans, monotone_plan
from .search import search_direction
from .slicer import Linear, Network, Polynomial, Slicer
from .solver import Sliced
from .sorting import lap_sort, soft_sort
from .sphere import GreatCircles, Stereographic, spherical_sliced_wasserstein, spherical_uniformity
from .transfer import TransferableSlicer
from .tree import TreeSystem, tree_sliced_wasserstein, tree_system
from .unbalanced import Unbalanced, unbalanced_sliced_wasserstein
from .wasserstein import sliced_wasserstein

__all__ = [
    "Balanced",
    "Circular",
    "CircularPartial",
    "Estimate",
    "GreatCircles",
    "LineProblem",
    "Linear",
    "LinearCircular",
    "Network",
    "Partial",
    "PartialProfile",
    "Polynomial",
    "Sliced",
    "Slicer",
    "Stereographic",
    "TransferableSlicer",
    "TreeSystem",
    "Unbalanced",
    "best_sliced_plan",
    "circular_barycenter_density",
    "circular_embedding",
    "circular_partial_cost",
    "circular_partial_plan",
    "circular_partial_profile",
    "circular_plan",
    "circular_wasserstein",
    "directions",
    "distributional_sliced_wasserstein",
    "energy_based_sliced_wasserstein",
    "estimate",
    "expected_sliced_plan",
    "frames",
    "lap_sort",
    "lifted_plans",
    "linear_circular_wasserstein",
    "max_sliced_wasserstein",
    "monotone_plan",
    "pairwise_sliced_wasserstein",
    "partial_cost",
    "partial_plan",
    "partial_profile",
    "partial_transport_lp",
    "random_path_directions",
    "rotations",
    "search_direction",
    "signal_graph",
    "sliced_partial_transport_lp",
    "sliced_partial_wasserstein",
    "sliced_wasserstein",
    "soft_sort",
    "spherical_sliced_partial_wasserstein",
    "spherical_sliced_wasserstein",
    "spherical_uniformity",
    "tree_sliced_wasserstein",
    "tree_system",
    "unbalanced_sliced_wasserstein",
]
