"""Matchings in which most pairs are sure: what is left of them is a smaller problem."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Rest", "rest_of"]


class Rest(NamedTuple):
    """The rows and columns that still have a choice, and their costs.

    Args:
        sure: The column of every row whose partner is sure, -1 for the others.
        price: What is left, inf where there is nothing to gain or no point.
        row: The rows of what is left; a number past the last one where a problem has fewer.
        col: Its columns.
    """

    sure: Int[Tensor, "b n"]
    price: Float[Tensor, "b k l"]
    row: Int[Tensor, "b k"]
    col: Int[Tensor, "b l"]

    def partner(self, perm: Int[Tensor, "b k"]) -> Int[Tensor, "b n"]:
        """The column of every row, given the place of a column for every row that was left, -1 for none."""
        found = torch.where(perm < 0, -1, self.col.gather(-1, perm.clamp_min(0)))
        n = self.sure.shape[-1]
        wide = torch.cat([self.sure, self.sure.new_full((len(self.sure), 1), -1)], -1)
        return wide.scatter(-1, self.row, found)[:, :n]


def rest_of(price: Float[Tensor, "b n m"]) -> Rest:
    """Points stay alone for nothing, and ``inf`` is a pair that gains nothing: the others all gain.

    Two points that have only each other are a pair, and points that have nobody are alone.
    """
    worth = price < torch.inf
    alone = worth.sum(-1) == 1, worth.sum(-2) == 1
    both: Bool[Tensor, "b n m"] = worth & alone[0][..., None] & alone[1][..., None, :]
    paired = both.any(-1)
    sure = torch.where(paired, both.to(torch.int8).argmax(-1), -1)
    rows, cols = worth.any(-1) & ~paired, worth.any(-2) & ~both.any(-2)
    (row, col), (n, m) = (_places(rows), _places(cols)), price.shape[-2:]
    near = price.gather(-2, row.clamp_max(n - 1)[..., None].expand(-1, -1, m))
    near = near.gather(-1, col.clamp_max(m - 1)[..., None, :].expand(-1, row.shape[-1], -1))
    near = near.masked_fill((row == n)[..., None] | (col == m)[..., None, :], torch.inf)
    return Rest(sure, near, row, col.clamp_max(m - 1))


def _places(marked: Bool[Tensor, "b n"]) -> Int[Tensor, "b k"]:
    """The places that are marked, in their order, filled up with the length."""
    n = marked.shape[-1]
    most = int(marked.sum(-1).max())
    places = torch.where(marked, torch.arange(n, device=marked.device), n)
    return places.sort(-1).values[:, :most]
