"""Squared distances in many dimensions, by products of matrices, and to the last digits all the same."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Points of the rows and of the columns.
Clouds = tuple[Tensor, Tensor]

# The relative error that pairs may keep: rounding of float64 products is far below what float32 can hold.
_RELATIVE = {torch.float64: 1e-12}
_RELATIVE_FLOAT32 = 1e-8
# A group of points that are near each other is worth a product of its own from this share of a block on.
_DENSE_SHARE = 1 / 64
_MOST_GROUPS = 64
# Coordinates that are gathered at a time where pairs are recomputed one by one.
_GATHERED = 2**21


def squares(centred: Clouds, given: Clouds, dtype: torch.dtype = torch.float64) -> Float[Tensor, "*b n m"]:
    """|x_i - y_j|^2 for all pairs of two float64 clouds.

    The product form |x|^2 + |y|^2 - 2 <x, y> loses digits where two points are near each other beside their distance
    from the origin. Its error stays below about (sqrt d + 6) u (|x| + |y|)^2, so those pairs are known: they are
    computed again, in groups around a point of their own where many are near, and else from their differences. So a
    pair of equal points costs exactly zero, with no gradient.

    Args:
        centred: The clouds (*b, n, d) and (*b, m, d), moved to a common centre.
        given: The same clouds where they were, since the move has rounded them.
        dtype: Where the answer will be stored, which decides how many digits are needed.
    """
    square, near = _product(*centred, dtype)
    if bool(near.any()):
        x, y = (points.expand(*square.shape[:-2], *points.shape[-2:]) for points in given)
        _regroup(square, near, x, y, dtype)
        _differ(square, near, x, y)
    return square


def _product(x: Tensor, y: Tensor, dtype: torch.dtype) -> tuple[Tensor, Bool[Tensor, "*b n m"]]:
    """The squares by products, and which of them lost digits."""
    tau = 2 * (math.sqrt(x.shape[-1]) + 6) * 2**-53 / _RELATIVE.get(dtype, _RELATIVE_FLOAT32)
    sizes = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :]
    square = (sizes - 2 * (x @ y.mT)).clamp_min(0)
    return square, square.detach() < tau * sizes.detach()


def _regroup(square: Tensor, near: Tensor, x: Tensor, y: Tensor, dtype: torch.dtype) -> None:
    """Pairs that are near in groups: products around one point of the group, in place."""
    n, m = near.shape[-2:]
    enough = max(n + m, math.ceil(_DENSE_SHARE * n * m))
    counts = near.flatten(-2).sum(-1).flatten()
    for problem in (counts > enough).nonzero()[:, 0].tolist():
        at = tuple(int(k) for k in torch.unravel_index(torch.tensor(problem), near.shape[:-2]))
        left, points, others, open_pairs = square[at], x[at], y[at], near[at]
        for _ in range(_MOST_GROUPS):
            if int(open_pairs.sum()) <= enough:
                break
            first = int(open_pairs.sum(-1).argmax())
            columns = open_pairs[first].nonzero()[:, 0]
            rows = (2 * open_pairs[:, columns].sum(-1) > len(columns)).nonzero()[:, 0]
            centre = points[first].detach()
            found, lost = _product(points[rows] - centre, others[columns] - centre, dtype)
            where = (rows[:, None], columns)
            mended = open_pairs[where] & ~lost
            if not bool(mended.any()):
                break
            left.index_put_(where, torch.where(mended, found, left[where]))
            open_pairs.index_put_(where, open_pairs[where] & lost)


def _differ(square: Tensor, near: Tensor, x: Tensor, y: Tensor) -> None:
    """The pairs that are left, one by one, in place."""
    places = near.nonzero()
    for some in places.split(max(1, _GATHERED // x.shape[-1])):
        *at, i, j = some.unbind(-1)
        apart = x[(*at, i)] - y[(*at, j)]
        square.index_put_((*at, i, j), (apart * apart).sum(-1))
