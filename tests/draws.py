"""Random numbers that a seed decides, drawn in one place for all tests."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cloud", "draw", "generator", "padding"]


def generator(seed: int = 0) -> torch.Generator:
    """A seeded source of randomness, as the library wants it passed."""
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
    """Normal numbers."""
    return scale * torch.randn(*shape, dtype=dtype, generator=generator(seed))


def cloud(n: int, d: int = 2, seed: int = 0) -> Tensor:
    """Normal points in float64."""
    return draw(n, d, seed=seed)


def padding(n: int, *counts: int) -> Tensor:
    """True at the last tokens of every sample, the same for all heads: (samples, 1, n)."""
    return torch.stack([torch.arange(n) >= n - count for count in counts])[:, None]
