"""Where the points of a cost lie, and how a point moves there: what a map from point to point has to know."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import length
from monge.kernels import Points

if TYPE_CHECKING:
    from .base import Geometry

__all__ = ["CircularSpace", "Space", "SphericalSpace", "angles"]


def angles(x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b n m"]:
    """The angles between all pairs of two clouds of unit vectors."""
    near, far = (Points(x, other, "norm", 2.0, 1.0).block(slice(None)) for other in (y, -y))
    return 2 * torch.atan2(near, far)


@dataclass(frozen=True)
class Space:
    """Euclidean space, and the points of a cost in it.

    Args:
        x: The source points.
        y: The target points.
        costs: The same cost between other points.
        numbers: Whether users write a point as one number, without a last dimension.
    """

    x: Float[Tensor, "*b n d"]
    y: Float[Tensor, "*b m d"]
    costs: Callable[[Tensor, Tensor], Geometry]
    numbers: bool = False

    @property
    def flat(self) -> bool:
        """Whether a barycentre is the mean of coordinates, wherever one looks at it from."""
        return True

    def place(self, points: Float[Tensor, "*b k d"]) -> Float[Tensor, "*b k d"]:
        """Points as they stand in this space."""
        return points

    def distances(self, points: Float[Tensor, "*b k d"]) -> Geometry:
        """An increasing function of how far points are from the source points."""
        from .point_cloud import PointCloud

        return PointCloud(points, self.x)

    def drawn(self, points: Float[Tensor, "*b k d"], shares: Float[Tensor, "*b k m"]) -> Float[Tensor, "*b k d"]:
        """Where points go that each target point draws with its share: the exponential of the mean of logarithms."""
        return shares @ self.y.to(shares.dtype)

    def carried(self, points: Tensor, source: Tensor, image: Tensor) -> Tensor:
        """Where points go that move as ``source`` does, which goes to ``image``."""
        return points + (image - source)


@dataclass(frozen=True)
class CircularSpace(Space):
    """A circle: a point goes to another one along the shorter arc."""

    circumference: float = 1.0

    @property
    def flat(self) -> bool:
        """No: the mean of coordinates depends on where the circle is cut."""
        return False

    def distances(self, points: Tensor) -> Geometry:
        """Squared chords."""
        from .point_cloud import PointCloud

        turn = 2 * math.pi / self.circumference
        x, y = (torch.cat([(turn * side).cos(), (turn * side).sin()], -1) for side in (points, self.x))
        return PointCloud(x, y)

    def drawn(self, points: Tensor, shares: Tensor) -> Tensor:
        """The mean of all arcs from the point."""
        arcs = self.y.mT - points
        arcs = arcs - self.circumference * torch.round(arcs.detach() / self.circumference)
        return points + (shares * arcs).sum(-1, keepdim=True)


@dataclass(frozen=True)
class SphericalSpace(Space):
    """The unit sphere: a point goes to another one along the great circle."""

    @property
    def flat(self) -> bool:
        """No: a mean of points on the sphere lies inside."""
        return False

    def place(self, points: Tensor) -> Tensor:
        """The directions of the points."""
        from .point_cloud import check_directions, direction

        check_directions("a map on the sphere", points=points)
        return direction(points)

    def drawn(self, points: Tensor, shares: Tensor) -> Tensor:
        """The mean of all tangents to great circles; an antipode draws to no side."""
        y = self.y.to(shares.dtype)
        angle = angles(points, y.to(points.dtype)).to(shares.dtype)
        opposite = angle > math.pi - math.sqrt(torch.finfo(shares.dtype).eps)
        # The logarithm of y at x is angle / sin(angle) times the part of y that is orthogonal to x.
        shares = (shares / torch.sinc(angle.masked_fill(opposite, 0) / math.pi)).masked_fill(opposite, 0)
        tangent = shares @ y
        tangent = tangent - (tangent * points).sum(-1, keepdim=True) * points
        size = length(tangent)[..., None]
        return size.cos() * points + torch.sinc(size / math.pi) * tangent

    def carried(self, points: Tensor, source: Tensor, image: Tensor) -> Tensor:
        """The smallest rotation that takes the source to the point takes its image along."""
        both = points + source
        turned = 1 + (points * source).sum(-1, keepdim=True)
        along = (both * image).sum(-1, keepdim=True) / turned.masked_fill(turned <= 0, 1)
        return image - along * both + 2 * (source * image).sum(-1, keepdim=True) * points
