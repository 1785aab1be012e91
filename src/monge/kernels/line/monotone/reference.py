"""The definition: cut the mass at every running sum of either side."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["monotone"]


def monotone(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of the monotone plan of rows of weights (rows, n) and (rows, m), with autograd through the levels."""
    rows = max(len(a), len(b))
    a, b = a.expand(rows, -1), b.expand(rows, -1)
    sums_a, sums_b = a.double().cumsum(-1), b.double().cumsum(-1)
    mass = (sums_a[:, -1:] + sums_b[:, -1:]) / 2
    below_a, below_b = (_levels(side, sums, mass)[:, :-1] for side, sums in ((a, sums_a), (b, sums_b)))
    # A level stands in the merged list after its own predecessors and those of the other side; ties: a before b.
    with torch.no_grad():
        count_a, count_b = below_a.shape[-1], below_b.shape[-1]
        place_a = torch.arange(count_a, device=a.device) + torch.searchsorted(
            below_b.contiguous(), below_a.contiguous()
        )
        place_b = torch.arange(count_b, device=a.device) + torch.searchsorted(
            below_a.contiguous(), below_b.contiguous(), right=True
        )
        from_a = torch.zeros(rows, count_a + count_b, dtype=torch.int64, device=a.device).scatter(1, place_a, 1)
    inner = sums_a.new_zeros(rows, count_a + count_b).scatter(1, place_a, below_a).scatter(1, place_b, below_b)
    levels = torch.cat([inner, mass], -1)
    w = torch.diff(levels, dim=-1, prepend=torch.zeros_like(mass)).to(a.dtype)
    start = from_a.new_zeros(rows, 1)
    i = torch.cat([start, from_a.cumsum(-1)], -1)
    j = torch.cat([start, (1 - from_a).cumsum(-1)], -1)
    return i, j, w


def _levels(weights: Tensor, sums: Tensor, mass: Tensor) -> Tensor:
    """Running sums that reach the common mass at the last atom with any: rounding leaves nothing for absent ones."""
    full = (weights > 0).flip(-1).cumsum(-1).flip(-1) <= (weights > 0)
    reached = torch.where(full, mass, torch.minimum(sums, mass)).detach()
    return sums + (reached - sums.detach())  # the value is the limit, the gradient that of the sum
