"""Transport on slices: directions, one-dimensional problems, and the distances and plans built from them."""

from .directions import directions, frames, rotations
from .estimate import Estimate, estimate
from .line import Balanced, Circular, LinearCircular, LineProblem
from .slicer import Linear, Network, Polynomial, Slicer
from .wasserstein import sliced_wasserstein

__all__ = [
    "Balanced",
    "Circular",
    "Estimate",
    "LineProblem",
    "Linear",
    "LinearCircular",
    "Network",
    "Polynomial",
    "Slicer",
    "directions",
    "estimate",
    "frames",
    "rotations",
    "sliced_wasserstein",
]
