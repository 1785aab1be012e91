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
        cost: Finite costs; leading dimensions are batch dimensions.
        n: How many rows there are.
        m: How many columns there are.
    """

    i: Int[Tensor, " k"]
    j: Int[Tensor, " k"]
    cost: Float[Tensor, "*b k"]
    n: int
    m: int

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns there are."""
        return self.n, self.m

    @property
    def batch_shape(self) -> torch.Size:
        """The dimensions of the batch, whose problems share their pairs."""
        return self.cost.shape[:-1]

    def transpose(self) -> Arcs:
        """The same with rows and columns exchanged."""
        return Arcs(self.j, self.i, self.cost, self.m, self.n)

    def block(self, rows: slice) -> Float[Tensor, "*b r m"]:
        """The costs of some rows, dense."""
        cost = self.cost.new_full((*self.batch_shape, self.n, self.m), math.inf)
        cost[..., self.i, self.j] = self.cost
        return cost[..., rows, :]

    def by_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The costs in increasing order of rows and columns, where those of each row begin, and their columns."""
        order = torch.argsort(self.i * self.m + self.j)
        first = torch.bincount(self.i, minlength=self.n).cumsum(0)
        return self.cost[..., order], torch.cat([first.new_zeros(1), first]), self.j[order].to(torch.int32)
