"""Plans in space that are made from slices: single plans, their mean, the best, a search, learned ones, a solver."""

from .lift import best_sliced_plan, expected_sliced_plan, lifted_plans, monotone_plan
from .networks import SetTransformer, sine_network
from .search import search_direction
from .solver import Sliced
from .sorting import lap_sort, soft_sort
from .transfer import TransferableSlicer

__all__ = [
    "SetTransformer",
    "Sliced",
    "TransferableSlicer",
    "best_sliced_plan",
    "expected_sliced_plan",
    "lap_sort",
    "lifted_plans",
    "monotone_plan",
    "search_direction",
    "sine_network",
    "soft_sort",
]
