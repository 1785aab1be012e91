"""Transport of a part of one measure to a part of another, on lines, circles and slices, and between signals."""

from .positions import circular_partial_cost, circular_partial_plan, partial_cost, partial_plan
from .problem import CircularPartial, Partial
from .profile import PartialProfile, circular_partial_profile, partial_profile
from .signal import partial_transport_lp, signal_graph, sliced_partial_transport_lp
from .wasserstein import sliced_partial_wasserstein, spherical_sliced_partial_wasserstein

__all__ = [
    "CircularPartial",
    "Partial",
    "PartialProfile",
    "circular_partial_cost",
    "circular_partial_plan",
    "circular_partial_profile",
    "partial_cost",
    "partial_plan",
    "partial_profile",
    "partial_transport_lp",
    "signal_graph",
    "sliced_partial_transport_lp",
    "sliced_partial_wasserstein",
    "spherical_sliced_partial_wasserstein",
]
