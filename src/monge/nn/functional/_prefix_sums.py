"""Sums over the past, a chunk of positions at a time: nothing of size n x n or n x r x c is built."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_CHUNK = 128


def prefix_matmul(
    left: Float[Tensor, "*b n r"], right: Float[Tensor, "*b n r"], v: Float[Tensor, "*b n c"]
) -> Float[Tensor, "*b n c"]:
    """The lower triangle of $L R^T$, left and right, diagonal included, times v. Position i reads nothing after i."""
    n = left.shape[-2]
    left, right, v = (_chunks(t) for t in (left, right, v))
    sums = right.mT @ v
    past = F.pad(sums.cumsum(-3)[..., :-1, :, :], (0, 0, 0, 0, 1, 0))
    out = left @ past + (left @ right.mT).tril() @ v
    return out.flatten(-3, -2)[..., :n, :]


def prefix_sum(right: Float[Tensor, "*b n r"]) -> Float[Tensor, "*b n r"]:
    """Running sums over positions; in chunks, so that rounding grows with the square root of the count."""
    n = right.shape[-2]
    pieces = _chunks(right)
    past = F.pad(pieces.sum(-2).cumsum(-2)[..., :-1, :], (0, 0, 1, 0))
    return (pieces.cumsum(-2) + past[..., None, :]).flatten(-3, -2)[..., :n, :]


def extend(v: Float[Tensor, "*b n c"]) -> Float[Tensor, "*b n c1"]:
    """Values with a one behind them, so that one product gives the weighted sum and the sum of weights."""
    return torch.cat([v, torch.ones_like(v[..., :1])], -1)


def _chunks(t: Tensor) -> Tensor:
    return F.pad(t, (0, 0, 0, -t.shape[-2] % _CHUNK)).unflatten(-2, (-1, _CHUNK))
