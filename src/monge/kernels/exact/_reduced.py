"""Costs in which only differences are left, where that loses no digit: what the exact solvers compare."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Sums of many costs, and their rounding, must stay far from both ends of float64.
_SMALL, _LARGE = 1e-150, 1e150


class Reduced(NamedTuple):
    """C_ij = row_i + col_j + scale * cost_ij, exactly."""

    cost: Float[Tensor, "*b n m"]
    row: Float[Tensor, "*b n"]
    col: Float[Tensor, "*b m"]
    scale: float

    def restore(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The potentials of the costs as they were given."""
        return self.scale * f + self.row, self.scale * g + self.col


def reduced(cost: Float[Tensor, "*b n m"]) -> Reduced:
    """Subtracts from every row, then from every column, what its costs share, and scales by a power of two.

    Numbers within a factor of two of each other subtract without error (Sterbenz), so nothing is taken from a row whose
    costs lie further apart. Costs of 1e8 that differ in the last digits would else be told apart only to 1e-14 of 1e8.
    """
    if cost.numel() == 0:
        return Reduced(cost, cost.new_zeros(cost.shape[:-1]), cost.new_zeros(cost.mT.shape[:-1]), 1.0)
    row, _, _ = _shared(cost)
    if bool((row != 0).any()):
        cost = cost - row[..., None]
    col, low, high = _shared(cost.mT)
    if bool((col != 0).any()):
        cost = cost - col[..., None, :]
        low, high = low - col, high - col
    size = max(_largest(low), _largest(high))
    if size == 0 or _SMALL < size < _LARGE:
        return Reduced(cost, row, col, 1.0)
    scale = 2.0 ** min(math.frexp(size)[1], 1023)
    return Reduced(cost / scale, row, col, scale)


def _shared(cost: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What can be taken from each row, its smallest and its largest finite cost."""
    low = cost.amin(-1)
    high = torch.where(cost < math.inf, cost, -math.inf).amax(-1)
    shared = torch.where((low > 0) & (high <= 2 * low), low, torch.where((high < 0) & (low >= 2 * high), high, 0.0))
    return shared, low, high


def _largest(values: Tensor) -> float:
    return float(torch.where(values.isfinite(), values, 0.0).abs().max())
