"""The Chamfer distance as a module."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from monge._checks import check_clouds, check_number, check_weights
from monge._transforms import transformable
from monge.geometry import Geometry, PointCloud

from .loss import Loss

__all__ = ["ChamferLoss"]


class ChamferLoss(Loss):
    r"""How far every point is from the nearest point of the other cloud, on average, in both directions.

    $$\sum_i a_i \min_j \lVert x_i - y_j\rVert_2^p + \sum_j b_j \min_i \lVert x_i - y_j\rVert_2^p, \qquad
    \textstyle\sum_i a_i = \sum_j b_j = 1$$
    Each direction is the cheapest plan whose other marginal is free, so that half of the loss is at most $W_p^p$. It
    costs one pass over the pairs each way, and no matrix of pairs is built. Clouds of different density can have a loss
    near zero: use `EarthMoverLoss` or `SinkhornLoss` if density matters.

    Args:
        p: Power of the distance, at least 1.
        reduction: As in `Loss`.

    Raises:
        InputError: If ``p`` or ``reduction`` is wrong; and when it is called, if clouds or weights are.

    Example:
        >>> import torch
        >>> from monge.loss import ChamferLoss
        >>> ChamferLoss()(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0]]))  # (1 + 9) / 2 + 1
        tensor(6.)

    Source: Fan, Su, Guibas, A point set generation network for 3D object reconstruction from a single image
        (arXiv 1612.00603).
    """

    _told: ClassVar[tuple[str, ...]] = ("p",)

    def __init__(self, p: float = 2.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        check_number("p", p, low=1.0, high=1e6)
        self.p = float(p)

    @transformable
    def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        check_clouds(x, y, a, b)
        for name, weights, points in (("a", a, x), ("b", b, y)):
            if weights is not None:
                check_weights(name, weights, points.shape[-2])
        cost = PointCloud(x, y, "euclidean", power=self.p)
        return _to_nearest(cost, a, b) + _to_nearest(cost.T, b, a)


def _to_nearest(cost: Geometry, a: Tensor | None, b: Tensor | None) -> Tensor:
    """The mean over the rows that are there of the least cost of a column that is there."""
    present = torch.zeros(cost.shape[1], dtype=cost.dtype, device=cost.device)
    present = present if b is None else torch.zeros_like(b).masked_fill(b == 0, -math.inf)
    least, _ = cost._ctransform(present)
    if a is None:
        return least.mean(-1)
    return (least * a).sum(-1) / a.sum(-1)
