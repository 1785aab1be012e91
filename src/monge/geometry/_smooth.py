"""Powers and roots whose derivatives at zero are zero instead of infinite or undefined."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["length", "power"]


def power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for base >= 0."""
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    zero = base == 0
    return base.masked_fill(zero, 1).pow(exponent).masked_fill(zero, 0)


def length(vectors: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension."""
    square = (vectors * vectors).sum(-1)
    zero = square == 0
    return torch.sqrt(square.masked_fill(zero, 1)).masked_fill(zero, 0)
