"""The definition: torch's stable sort."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["argsort"]


def argsort(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted values along the last axis, and where they came from."""
    values, indices = torch.sort(x, dim=-1, stable=True)
    return values, indices
