"""The cheapest bijection between two clouds of equal size, without a matrix of costs."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable
from monge.errors import InputError, ShapeError

from ... import _extension
from ..assignment import Matching
from . import native, reference

__all__ = ["bijection"]


@transformable
@torch.no_grad()
def bijection(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Matching | None:
    r"""Solves $\min_\sigma \sum_i \lVert x_i - y_{\sigma(i)}\rVert^2$ over permutations, exactly, in memory $O(n d)$.

    An auction over prices, then shortest paths, look only at the cheapest columns of each row, and search a row again
    where its answer may lie outside. Both only raise prices, so that what a search has proved of the columns it left
    out stays true. In up to three dimensions, searches leave out boxes of points that are too far; in more, they
    compare costs in single precision, less a bound of all their rounding, before double precision decides. The last act
    is a search for the cheapest column of every row among all of them: $f_i + g_j \le C_{ij}$, with equality on the
    permutation, up to the rounding of float64.

    Some inputs, for instance many points at few places or clusters of unequal size, let prices rise in very many small
    steps. The work is limited, and such an input is given up: the answer is None, and `assignment` or `simplex` solve
    it.

    Args:
        x: Source points.
        y: Target points, as many.

    Returns:
        The permutation and potentials in float64, or None.

    Raises:
        ShapeError: The clouds differ in shape.
        InputError: A coordinate is not finite.

    Example:
        >>> import torch
        >>> bijection(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [2.0]])).perm
        tensor([1, 0])

    The auction is Bertsekas', "The auction algorithm: a distributed relaxation method for the assignment problem"
    (1988); Jonker, Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems"
    (1987).
    """
    if x.ndim != 2 or x.shape != y.shape:
        raise ShapeError(
            f"x and y must both have shape (n, d), but have {tuple(x.shape)} and {tuple(y.shape)}: for clouds of "
            "different sizes use the simplex."
        )
    points = [cloud.detach().cpu().double() for cloud in (x, y)]
    for name, cloud in zip("xy", points, strict=True):
        if not bool(cloud.isfinite().all()):
            raise InputError(f"{name} must be finite: drop or mend the points that are NaN or infinite.")
    if len(x) < 2 or x.shape[1] == 0 or not _in_range(points):
        return None
    found = (native if _extension.AVAILABLE else reference).bijection(*points)
    return None if found is None else Matching(*(part.to(x.device) for part in found))


def _in_range(points: list[Tensor]) -> bool:
    """Whether squares of differences stay far from both ends of float64."""
    size = max(float(cloud.abs().max()) for cloud in points)
    spread = max(float((cloud - points[1][0]).abs().max()) for cloud in points)
    return size < 1e140 and spread > 1e-140 and math.isfinite(size)
