"""Costs between directions."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import length, power, take
from monge._checks import check_clouds, check_number
from monge._value import value

from ._range import check_range
from .base import Geometry, Rows
from .point_cloud import check_directions, direction
from .space import SphericalSpace, angles

__all__ = ["Sphere"]

# Up to this dimension sums and differences are formed directly: as fast as products.
_DIRECT_DIMENSION = 8


@value
class Sphere(Geometry):
    r"""The power of the great-circle distance $\angle(x, y)^p$ on the unit sphere.

    Only the directions of the points matter: they are normalised, and gradients are tangent to the sphere. The angle
    is $2\,\mathrm{atan2}(|u - v|, |u + v|)$ (Kahan). It keeps its digits for points that are close or opposite, where
    $\arccos\langle u, v\rangle$ loses half of them. For equal or opposite points the gradient is zero.

    Args:
        x: Source points, non-zero vectors.
        y: Target points.
        p: The power, at least one.

    Raises:
        ShapeError, DtypeError, DeviceError: If the clouds do not fit together.
        InputError: If a coordinate is not finite, a vector is zero, or ``p`` is out of range.

    Example:
        >>> import torch
        >>> from monge.geometry import Sphere
        >>> Sphere(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]), p=1).dense()
        tensor([[0.0000, 1.5708, 3.1416]])
    """

    x: Float[Tensor, "*b n d"]
    y: Float[Tensor, "*b m d"]
    p: float = 2.0
    _sides = (("x", "y"),)

    def __post_init__(self) -> None:
        check_clouds(self.x, self.y)
        check_directions("a sphere", x=self.x, y=self.y)
        check_number("p", self.p, low=1.0, high=1e6)
        check_range(self.p * math.log(math.pi), self.dtype)

    def _may_be_negative(self) -> bool:
        return False

    def _space(self) -> SphericalSpace:
        return SphericalSpace(direction(self.x), direction(self.y), partial(Sphere, p=self.p))

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        x, y = self.x[..., rows, :], self.y
        if x.shape[-1] > _DIRECT_DIMENSION:
            return power(angles(direction(x.double()), direction(y.double())), self.p).to(self.dtype)
        return self._cost(direction(x)[..., :, None, :], direction(y)[..., None, :, :])

    def _cost(self, u: Tensor, v: Tensor) -> Tensor:
        return power(2 * torch.atan2(length(u - v), length(u + v)), self.p)

    def _scalars_per_entry(self) -> int:
        return min(2 * self.x.shape[-1], 2 * _DIRECT_DIMENSION)

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return self._cost(direction(take(self.x, i)), direction(take(self.y, j)))
