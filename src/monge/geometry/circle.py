"""Costs between points on a circle."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at, power
from monge._checks import check_number
from monge._value import value

from ._range import check_range
from .base import Geometry, Rows
from .line import check_coordinates
from .space import CircularSpace

__all__ = ["Circle"]


@value
class Circle(Geometry):
    r"""The power of the arc length $\min_k |x - y + kL|^p$ on a circle of circumference $L$.

    Coordinates may be any real numbers; numbers that differ by a multiple of the circumference are the same point.

    Args:
        x: Source points, one number each; two clouds of shape (*b, n, 1) are accepted too.
        y: Target points.
        p: The power, at least one.
        circumference: The length of the circle, for example ``2 * math.pi`` for angles.

    Raises:
        ShapeError, DtypeError, DeviceError: If the points are not numbers or do not fit together.
        InputError: If a point is not finite, or ``p`` or ``circumference`` is out of range.

    Example:
        >>> import torch
        >>> from monge.geometry import Circle
        >>> Circle(torch.tensor([0.0]), torch.tensor([0.25, 1.0, 3.5]), p=1).dense()
        tensor([[0.2500, 0.0000, 0.5000]])
    """

    x: Float[Tensor, "*b n"]
    y: Float[Tensor, "*b m"]
    p: float = 2.0
    circumference: float = 1.0
    _sides = (("x", "y"),)

    def __post_init__(self) -> None:
        x, y = check_coordinates(self.x, self.y)
        check_number("p", self.p, low=1.0, high=1e6)
        check_number("circumference", self.circumference, low=0.0, strict=True)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        check_range(self.p * math.log(self.circumference), self.dtype)

    def _cost(self, x: Tensor, y: Tensor) -> Tensor:
        apart = x - y
        turns = torch.round(apart.detach() / self.circumference)
        return power((apart - self.circumference * turns).abs(), self.p)

    def _may_be_negative(self) -> bool:
        return False

    def _space(self) -> CircularSpace:
        costs = partial(Circle, p=self.p, circumference=self.circumference)
        x, y = self.x[..., None], self.y[..., None]
        return CircularSpace(x, y, costs, numbers=True, circumference=self.circumference)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self._cost(self.x[..., rows, None], self.y[..., None, :])

    def _scalars_per_entry(self) -> int:
        return 3

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return self._cost(at(self.x, i), at(self.y, j))
