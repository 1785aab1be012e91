"""The definition: shortest augmenting paths, one row at a time, in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._reduced import reduced

__all__ = ["assignment"]


def assignment(cost: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """The number of an infeasible problem or -1, then permutations and potentials of a batch (b, n, n)."""
    perm = torch.empty(cost.shape[:2], dtype=torch.int64)
    f, g = torch.empty(2, *cost.shape[:2], dtype=torch.float64)
    for k, matrix in enumerate(cost):
        less = reduced(matrix.double())
        answer = _matched(less.cost)
        if answer is None:
            return k, perm, f, g
        perm[k], *potentials = answer
        f[k], g[k] = less.restore(*potentials)
    return -1, perm, f, g


def _matched(cost: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Permutation and potentials of one square matrix; None if every permutation uses an infinite cost."""
    n = len(cost)
    f, g = cost.new_zeros(n), cost.new_zeros(n)
    row_of = [-1] * n  # the row matched with each column
    for start in range(n):
        distance = torch.full_like(g, math.inf)
        before = torch.full((n,), -1, dtype=torch.int64)
        closed = torch.zeros(n, dtype=torch.bool)
        row, column, radius = start, -1, 0.0
        visited = []
        while row >= 0:
            visited.append((row, radius))
            offer = radius + cost[row] - f[row] - g
            shorter = (offer < distance) & ~closed
            distance = torch.where(shorter, offer, distance)
            before[shorter] = column
            open_distance = distance.masked_fill(closed, math.inf)
            radius = float(open_distance.min())
            if radius == math.inf:
                return None
            column = int(open_distance.argmin())
            closed[column] = True
            row = row_of[column]
        for seen, reached in visited:
            f[seen] += radius - reached
        g -= torch.where(closed, radius - distance, 0.0)
        while column >= 0:
            previous = int(before[column])
            row_of[column] = start if previous < 0 else row_of[previous]
            column = previous
    perm = torch.empty(n, dtype=torch.int64)
    perm[torch.tensor(row_of, dtype=torch.int64)] = torch.arange(n)
    return perm, f, g
