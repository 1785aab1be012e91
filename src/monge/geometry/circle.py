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

from ._numbers import Numbers
from ._range import check_range
from .base import Rows
from .space import CircularSpace

__all__ = ["Circle"]


@value
class Circle(Numbers):
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

    circumference: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("circumference", self.circumference, low=0.0, strict=True)
        check_range(self.p * math.log(self.circumference), self.dtype)

    def _cost(self, x: Tensor, y: Tensor) -> Tensor:
        apart = x - y
        turns = torch.round(apart.detach() / self.circumference)
        return power((apart - self.circumference * turns).abs(), self.p)

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
