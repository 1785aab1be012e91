"""Features of the points of a cloud that depend only on distances: inputs for networks that score points."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number
from monge._transforms import transformable
from monge.geometry import Geometry

__all__ = ["distance_profiles"]


@transformable
def distance_profiles(space: Geometry, size: int = 16) -> Float[Tensor, "*b n size"]:
    """For every point, the quantiles of its distances to the others, divided by the mean distance.

    Isometric clouds have equal profiles, whatever their positions, dimension and scale. So profiles are good inputs for
    slicers of clouds in different spaces.

    Args:
        space: The distances of a cloud to itself.
        size: How many quantiles.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> x = torch.randn(20, 3); turn = torch.linalg.qr(torch.randn(3, 3)).Q
        >>> profiles = [distance_profiles(PointCloud(side, side, "euclidean")) for side in (x, x @ turn + 5)]
        >>> torch.allclose(*profiles, atol=1e-3)
        True
    """
    check_number("size", size, low=1)
    ordered = space.dense().sort(dim=-1).values
    n = ordered.shape[-1]
    level = ((torch.arange(size, device=ordered.device) + 0.5) / size * n).long().clamp_max(n - 1)
    return ordered[..., level] / ordered.mean((-1, -2), keepdim=True).clamp_min(torch.finfo(ordered.dtype).tiny)
