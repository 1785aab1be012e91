"""Numbers that several checks compute, written down plainly."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse(x: Tensor) -> Tensor:
    """1 / x, zero where x is zero."""
    return torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)


def merged(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The entries (i, j, w) of the monotone plan between weights of mass one: n + m of them, some of weight zero."""
    up, across = (weights.cumsum(-1).contiguous() for weights in (a, b))
    levels = torch.cat([up, across], -1).clamp_max(1).sort(-1).values
    w = levels.diff(dim=-1, prepend=torch.zeros_like(levels[..., :1]))
    middle = (levels - w / 2).contiguous()
    i, j = (torch.searchsorted(level, middle).clamp_max(level.shape[-1] - 1) for level in (up, across))
    return i, j, w
