"""Costs between points on a line."""

from __future__ import annotations

from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monge._checks import check_batches, check_finite, check_floating, check_number, check_same
from monge._value import value
from monge.errors import ShapeError
from monge.kernels import Points

from ._clouds import Clouds
from ._range import check_distances
from .space import Space

__all__ = ["Line", "check_coordinates"]


@value
class Line(Clouds):
    r"""The cost $|x - y|^p$ between points on a line.

    Monotone couplings are optimal for it, so that a solver can sort instead of iterating.

    Args:
        x: Source points, one number each; two clouds of shape (*b, n, 1) are accepted too.
        y: Target points.
        p: The power, at least one: the cost is convex.

    Raises:
        ShapeError, DtypeError, DeviceError: If the points are not numbers or do not fit together.
        InputError: If a point is not finite or ``p`` is not in [1, inf).

    Example:
        >>> import torch
        >>> from monge.geometry import Line
        >>> Line(torch.tensor([0.0, 1.0]), torch.tensor([3.0])).dense()
        tensor([[9.],
                [4.]])
    """

    x: Float[Tensor, "*b n"]
    y: Float[Tensor, "*b m"]
    p: float = 2.0
    _sides = (("x", "y"),)

    def __post_init__(self) -> None:
        x, y = check_coordinates(self.x, self.y)
        check_number("p", self.p, low=1.0, high=1e6)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        check_distances(x[..., None], y[..., None], 1.0, self.p)

    def _may_be_negative(self) -> bool:
        return False

    def _on_line(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    def _space(self) -> Space:
        return Space(self.x[..., None], self.y[..., None], partial(Line, p=self.p), numbers=True)

    def _pairs(self) -> Points:
        # On a line every norm is the absolute value: the cheapest one is taken.
        return Points(self.x[..., None], self.y[..., None], "norm", 2.0 if self.p == 2 else 1.0, self.p)


def check_coordinates(x: Any, y: Any) -> tuple[Tensor, Tensor]:
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
    check_batches("x and y, points of one coordinate on a line,", x.shape[:-1], y.shape[:-1])
    return x, y
