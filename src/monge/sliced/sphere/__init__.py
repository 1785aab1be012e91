"""Transport on circles and spheres: distances, plans and embeddings on the circle, slices and trees on the sphere."""

from .circle import (
    circular_barycenter_density,
    circular_embedding,
    circular_plan,
    circular_uniformity,
    circular_wasserstein,
    linear_circular_wasserstein,
)
from .tree import SphericalTreeSystem, spherical_tree_sliced_wasserstein, spherical_tree_system
from .wasserstein import (
    GreatCircles,
    Stereographic,
    rotated_frames,
    spherical_embedding,
    spherical_sliced_wasserstein,
    spherical_uniformity,
)

__all__ = [
    "GreatCircles",
    "SphericalTreeSystem",
    "Stereographic",
    "circular_barycenter_density",
    "circular_embedding",
    "circular_plan",
    "circular_uniformity",
    "circular_wasserstein",
    "linear_circular_wasserstein",
    "rotated_frames",
    "spherical_embedding",
    "spherical_sliced_wasserstein",
    "spherical_tree_sliced_wasserstein",
    "spherical_tree_system",
    "spherical_uniformity",
]
