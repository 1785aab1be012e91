"""Transport on slices: directions, one-dimensional problems, and the distances and plans built from them."""

from .directions import directions, frames, rotations
from .embedding import sliced_embedding
from .estimate import Estimate, estimate, refine
from .gromov.plan import best_gromov_plan
from .gromov.slicer import GromovSlicer
from .gromov.wasserstein import Gromov, gromov_cost, sliced_gromov_wasserstein
from .laws import (
    distributional_sliced_wasserstein,
    energy_based_sliced_wasserstein,
    max_sliced_wasserstein,
    random_path_directions,
)
from .line import Balanced, Circular, LinearCircular, LineProblem
from .pairwise import pairwise_sliced_wasserstein
from .partial.problem import (
    CircularPartial,
    Partial,
    circular_partial_cost,
    circular_partial_plan,
    partial_cost,
    partial_plan,
)
from .partial.profile import PartialProfile, circular_partial_profile, partial_profile
from .partial.signal import partial_transport_lp, signal_graph, sliced_partial_transport_lp
from .partial.wasserstein import sliced_partial_wasserstein, spherical_sliced_partial_wasserstein
from .plan.lift import best_sliced_plan, expected_sliced_plan, lifted_plans, monotone_plan
from .plan.networks import SetTransformer, distance_profiles, sine_network
from .plan.search import search_direction
from .plan.solver import Sliced
from .plan.sorting import lap_sort, soft_sort
from .plan.transfer import TransferableSlicer
from .slicer import Augmented, Linear, Network, Polynomial, Slicer, Spheres
from .sphere.circle import (
    circular_barycenter_density,
    circular_embedding,
    circular_plan,
    circular_uniformity,
    circular_wasserstein,
    linear_circular_wasserstein,
)
from .sphere.tree import SphericalTreeSystem, spherical_tree_sliced_wasserstein, spherical_tree_system
from .sphere.wasserstein import (
    GreatCircles,
    Stereographic,
    rotated_frames,
    spherical_embedding,
    spherical_sliced_wasserstein,
    spherical_uniformity,
)
from .tree import TreeSystem, tree_sliced_wasserstein, tree_system
from .unbalanced import Unbalanced, unbalanced_sliced_wasserstein
from .wasserstein import sliced_wasserstein

__all__ = [
    "Augmented",
    "Balanced",
    "Circular",
    "CircularPartial",
    "Estimate",
    "GreatCircles",
    "Gromov",
    "GromovSlicer",
    "LineProblem",
    "Linear",
    "LinearCircular",
    "Network",
    "Partial",
    "PartialProfile",
    "Polynomial",
    "SetTransformer",
    "Sliced",
    "Slicer",
    "Spheres",
    "SphericalTreeSystem",
    "Stereographic",
    "TransferableSlicer",
    "TreeSystem",
    "Unbalanced",
    "best_gromov_plan",
    "best_sliced_plan",
    "circular_barycenter_density",
    "circular_embedding",
    "circular_partial_cost",
    "circular_partial_plan",
    "circular_partial_profile",
    "circular_plan",
    "circular_uniformity",
    "circular_wasserstein",
    "directions",
    "distance_profiles",
    "distributional_sliced_wasserstein",
    "energy_based_sliced_wasserstein",
    "estimate",
    "expected_sliced_plan",
    "frames",
    "gromov_cost",
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
    "refine",
    "rotated_frames",
    "rotations",
    "search_direction",
    "signal_graph",
    "sine_network",
    "sliced_embedding",
    "sliced_gromov_wasserstein",
    "sliced_partial_transport_lp",
    "sliced_partial_wasserstein",
    "sliced_wasserstein",
    "soft_sort",
    "spherical_embedding",
    "spherical_sliced_partial_wasserstein",
    "spherical_sliced_wasserstein",
    "spherical_tree_sliced_wasserstein",
    "spherical_tree_system",
    "spherical_uniformity",
    "tree_sliced_wasserstein",
    "tree_system",
    "unbalanced_sliced_wasserstein",
]
