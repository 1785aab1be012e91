"""A matching in which points may stay alone, as many small matchings: those of the connected parts of its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["matched_by_parts"]

# Parts are looked for where pairs that are worth it are fewer than this for each point: otherwise there is one part.
_CHOICES = 8


class _Side(NamedTuple):
    """The points of one side that have a choice, the part of each and its place in it, and where each edge ends."""

    points: Int[Tensor, " u"]
    part: Int[Tensor, " u"]
    place: Int[Tensor, " u"]
    end: Int[Tensor, " e"]

    @classmethod
    def of(cls, points: Tensor, part: Tensor, parts: int) -> _Side:
        known, end = points.unique(return_inverse=True)
        own = torch.zeros_like(known)
        own[end] = part
        order = own.argsort(stable=True)
        counts = own.bincount(minlength=parts)
        place = torch.empty_like(own)
        place[order] = torch.arange(len(own), device=own.device) - (counts.cumsum(0) - counts)[own[order]]
        return cls(known, own, place, end)

    @property
    def most(self) -> int:
        """The most points of a part."""
        return int(self.place.max()) + 1


def matched_by_parts(
    price: Float[Tensor, "b n m"],
    limit: Float[Tensor, " b"],
    solve: Callable[[Float[Tensor, "p k l"]], Int[Tensor, "p k"]],
) -> Int[Tensor, "b n"]:
    """The column of every row, -1 for none, where a pair is worth it below the limit of its problem.

    Pairs that are worth it are edges of a graph. Two points that have only each other are a pair, and every other
    connected part is a problem of its own; where a gate is narrow, most parts have a few points. ``solve`` is handed
    what pairs gain, below zero, and inf where there is nothing to gain.
    """
    b, n, m = price.shape
    worth = price < limit[:, None, None]
    if int(worth.sum()) >= _CHOICES * b * (n + m):
        return solve(torch.where(worth, price - limit[:, None, None], torch.inf))
    k, i, j = worth.nonzero(as_tuple=True)
    gain, row, col = price[k, i, j] - limit[k], k * n + i, k * m + j
    only = (row.bincount(minlength=b * n)[row] == 1) & (col.bincount(minlength=b * m)[col] == 1)
    partner = torch.full((b * n,), -1, device=price.device)
    partner[row[only]] = j[only]
    k, row, col, gain = (held[~only] for held in (k, row, col, gain))
    if len(row) == 0:
        return partner.view(b, n)
    part, rows, cols = _sides(row, col, _connected(row, col, b * n, b * m))
    # Parts are filled up to the largest one, which may take more numbers than there were.
    if _size(part, rows, cols) > b * n * m:
        part, rows, cols = _sides(row, col, k)
    parts = int(part.max()) + 1
    left = price.new_full((parts, rows.most, cols.most), torch.inf)
    left[part, rows.place[rows.end], cols.place[cols.end]] = gain
    found = solve(left)[rows.part, rows.place]
    names = torch.zeros(parts, cols.most, dtype=torch.long, device=price.device)
    names[cols.part, cols.place] = cols.points % m
    partner[rows.points] = torch.where(found < 0, -1, names[rows.part, found.clamp_min(0)])
    return partner.view(b, n)


def _sides(row: Tensor, col: Tensor, part: Tensor) -> tuple[Tensor, _Side, _Side]:
    """Parts of edges by their numbers, and both sides of their edges."""
    part = part.unique(return_inverse=True)[1]
    parts = int(part.max()) + 1
    return part, _Side.of(row, part, parts), _Side.of(col, part, parts)


def _size(part: Tensor, rows: _Side, cols: _Side) -> int:
    return (int(part.max()) + 1) * rows.most * cols.most


def _connected(row: Tensor, col: Tensor, rows: int, cols: int) -> Tensor:
    """The least row of the connected part of every edge: what neighbours know goes round until nothing changes."""
    at_row = torch.arange(rows, device=row.device)
    while True:
        at_col = torch.full((cols,), rows, device=row.device).scatter_reduce(0, col, at_row[row], "amin")
        nearer = at_row.scatter_reduce(0, row, at_col[col], "amin")
        if torch.equal(nearer, at_row):
            return at_row[row]
        at_row = nearer
