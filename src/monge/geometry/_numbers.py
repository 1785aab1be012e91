"""Costs between points that are one number each."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from monge._checks import check_batches, check_finite, check_floating, check_number, check_same
from monge._value import value
from monge.errors import ShapeError

from .base import Geometry


@value
class Numbers(Geometry):
    """The power of a distance between positions, on a line or on a circle."""

    x: Float[Tensor, "*b n"]
    y: Float[Tensor, "*b m"]
    p: float = 2.0
    _sides = (("x", "y"),)

    def __post_init__(self) -> None:
        x, y = _coordinates(self.x, self.y)
        check_number("p", self.p, low=1.0, high=1e6)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def _may_be_negative(self) -> bool:
        return False


def _coordinates(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Points that are one number each, as (*b, n) and (*b, m); clouds (*b, n, 1) are unpacked."""
    for name, points in (("x", x), ("y", y)):
        check_floating(name, points)
        if points.ndim == 0 or 0 in points.shape[-1:]:
            raise ShapeError(
                f"{name} must hold at least one point, one number each, in shape (*batch, n), but has shape "
                f"{tuple(points.shape)}: pass for example torch.tensor([0.0])."
            )
        check_finite(name, points.detach())
    check_same(x=x, y=y)
    packed = [points.ndim >= 2 and points.shape[-1] == 1 for points in (x, y)]
    if all(packed):
        x, y = x[..., 0], y[..., 0]
    elif any(packed) and min(x.ndim, y.ndim) == 1:
        raise ShapeError(
            f"x and y must both be numbers (*batch, n) or both be points (*batch, n, 1), but they have "
            f"{tuple(x.shape)} and {tuple(y.shape)}: write both in one way."
        )
    check_batches(x=x.shape[:-1], y=y.shape[:-1])
    return x, y
