"""Costs that the kernels read from two clouds of points."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import take, working_dtype
from monge.kernels import Points

from ._range import log_reach
from .base import Geometry, Rows


class Clouds(Geometry):
    """A cost that the kernels know through points: all that it has to write is which."""

    @abstractmethod
    def _pairs(self) -> Points | None:
        """The points, or None for a cost that the kernels do not know after all."""

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self._points().block(rows)

    def _points(self) -> Points:
        points = self._pairs()
        assert points is not None
        return points

    def _dense(self) -> Float[Tensor, "*b n m"]:
        points = self._pairs()
        return super()._dense() if points is None else points.dense()

    def _scalars_per_entry(self) -> int:
        # Products of matrices hold a few numbers a pair, differences one for each coordinate.
        points = self._points()
        return 4 if points.kind == "dot" or points.expands else points.x.shape[-1]

    def _vanishes(self) -> bool:
        points = self._pairs()
        if points is None or points.kind == "dot":
            return False
        reach, lowest = log_reach(points.x, points.y, 2.0), math.log(torch.finfo(self.dtype).tiny)
        return bool(((reach > -math.inf) & (points.power * reach < lowest)).any())

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        points = self._pairs()
        if points is None:
            return super()._entries(i, j)
        # One pair a problem: the pair is the cloud.
        x, y = take(points.x, i)[..., None, :], take(points.y, j)[..., None, :]
        return Points(x, y, points.kind, points.p, points.power).block(slice(None))[..., 0, 0]

    def _factors(self) -> tuple[Tensor, Tensor] | None:
        points = self._pairs()
        if points is None:
            return None
        if points.kind == "dot":
            factors = -points.x, points.y
        elif points.p == points.power == 2:
            factors = _square_factors(points)
        else:
            return None
        batch = self.batch_shape
        left, right = (part.expand(*batch, *part.shape[-2:]) for part in factors)
        return left, right


def joined(parts: list[Tensor], batch: torch.Size) -> Tensor:
    """The coordinates of all ``parts``, for every problem of a batch."""
    return torch.cat([part.expand(*batch, *part.shape[-2:]) for part in parts], -1)


def _square_factors(points: Points) -> tuple[Tensor, Tensor]:
    """|x - y|^2 = [|x|^2, 1, -2x] . [1, |y|^2, y], with both clouds moved to a common centre."""
    dtype = working_dtype(points)
    x, y = points.x.to(dtype), points.y.to(dtype)
    centre = (x.detach().mean(-2, keepdim=True) + y.detach().mean(-2, keepdim=True)) / 2
    x, y = x - centre, y - centre
    one_x, one_y = torch.ones_like(x[..., :1]), torch.ones_like(y[..., :1])
    left = torch.cat([(x * x).sum(-1, keepdim=True), one_x, -2 * x], -1)
    return left, torch.cat([one_y, (y * y).sum(-1, keepdim=True), y], -1)
