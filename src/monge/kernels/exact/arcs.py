"""Costs of the pairs that may meet, in a list: what the network simplex reads where most pairs may not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Arcs"]


@dataclass(frozen=True, eq=False)
class Arcs:
    """The pairs (i, j) that may meet, each at most once, and what each of them costs; others are forbidden.

    Args:
        i: Rows.
        j: Columns.
        cost: Finite costs.
        n: How many rows there are.
        m: How many columns there are.
    """

    i: Int[Tensor, " k"]
    j: Int[Tensor, " k"]
    cost: Float[Tensor, " k"]
    n: int
    m: int

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        return self.n, self.m

    @property
    def batch_shape(self) -> torch.Size:
        """It is one problem."""
        return torch.Size()

    def transpose(self) -> Arcs:
        """The same with rows and columns exchanged."""
        return Arcs(self.j, self.i, self.cost, self.m, self.n)

    def rows(self, index: Int[Tensor, " r"]) -> Arcs:
        """The costs of some rows, each of them once."""
        place = torch.full((self.n,), -1, device=self.i.device)
        place[index] = torch.arange(len(index), device=self.i.device)
        kept = place[self.i] >= 0
        return Arcs(place[self.i[kept]], self.j[kept], self.cost[kept], len(index), self.m)

    def block(self, rows: slice) -> Float[Tensor, "r m"]:
        """The costs of some rows, dense."""
        cost = self.cost.new_full((self.n, self.m), math.inf)
        cost[self.i, self.j] = self.cost
        return cost[rows]

    def lowest(self, g: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
        """The minimum of C_ij - g_j over the pairs of a row."""
        lowest = self.cost.new_full((self.n,), math.inf)
        return lowest.scatter_reduce(0, self.i, self.cost - g[self.j], "amin")

    def by_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where the pairs of each row begin, and the columns and costs of all, in increasing order."""
        order = torch.argsort(self.i * self.m + self.j)
        counts = torch.bincount(self.i, minlength=self.n)
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return first, self.j[order].to(torch.int32), self.cost[order]
