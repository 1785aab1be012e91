"""The definition: cut the mass at every running sum of either side."""

from __future__ import annotations

import torch
from torch import Tensor

from .._rows import pieces, running

__all__ = ["monotone"]


def monotone(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of the monotone plan of rows of weights (rows, n) and (rows, m), with autograd through the levels."""
    rows = max(len(a), len(b))
    sides = [weights.double().expand(rows, -1) for weights in (a, b)]
    mass = torch.stack([weights.cumsum(-1)[:, -1:] for weights in sides]).mean(0)
    below_a, below_b = (running(weights, mass)[:, :-1] for weights in sides)
    i, j, w = pieces(below_a, torch.cat([below_b, mass], -1))
    return i, j, w.to(a.dtype)
