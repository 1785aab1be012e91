"""The definition, in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["proof"]


def proof(
    cost: Tensor, i: Tensor, j: Tensor, w: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor
) -> tuple[Tensor, ...]:
    """Centred potentials, then five numbers for each problem."""
    batch = f.shape[:-1]
    i, j, w = (t.expand(*batch, t.shape[-1]) for t in (i, j, w))
    row = torch.zeros_like(f).scatter_add(-1, i, w)
    col = torch.zeros_like(g).scatter_add(-1, j, w)
    along = cost.expand(*batch, *cost.shape[-2:]).flatten(-2).gather(-1, i * cost.shape[-1] + j)
    total = torch.where(w == 0, 0.0, w * along).sum(-1)
    shift = ((_pairing(a, f) - _pairing(b, g)) / (a.sum(-1) + b.sum(-1)))[..., None]
    f, g = f - shift, g + shift
    lowered = torch.minimum(f, (cost - torch.where(b > 0, g, -math.inf)[..., None, :]).amin(-1))
    missing, wanted = (row - a).abs().sum(-1), (col - b).abs().sum(-1)
    sizes = (torch.where(weights > 0, side.abs(), 0.0).amax(-1) for weights, side in ((a, f), (b, g)))
    priced = total + sum(size * off for size, off in zip(sizes, (missing, wanted), strict=True))
    violation = (missing + wanted) / row.sum(-1).clamp_min(torch.finfo(row.dtype).tiny)
    doubt = total - _pairing(row, lowered) - _pairing(col, g)
    scale = total.abs() + _pairing(a, f.abs()) + _pairing(b, g.abs())
    return f, g, priced, priced - _pairing(a, lowered) - _pairing(b, g), violation, doubt, scale


def _pairing(weights: Tensor, values: Tensor) -> Tensor:
    """<weights, values>; an absent point counts as zero whatever its potential."""
    return torch.where(weights == 0, 0.0, weights * values).sum(-1)
