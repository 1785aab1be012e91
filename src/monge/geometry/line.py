"""Costs between points on a line."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from monge._value import value
from monge.kernels import Points

from ._clouds import Clouds
from ._numbers import Numbers
from ._range import check_distances
from .space import Space

__all__ = ["Line"]


@value
class Line(Numbers, Clouds):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distances(self.x[..., None], self.y[..., None], 1.0, self.p)

    def _on_line(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    def _space(self) -> Space:
        return Space(self.x[..., None], self.y[..., None], partial(Line, p=self.p), numbers=True)

    def _pairs(self) -> Points:
        # On a line every norm is the absolute value: the cheapest one is taken.
        return Points(self.x[..., None], self.y[..., None], "norm", 2.0 if self.p == 2 else 1.0, self.p)
