"""Softmax attention with the weights that are kept told."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["dropped_softmax_reference"]


def dropped_softmax_reference(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    mask: Tensor | None,
    kept: Bool[Tensor, "*b n m"],
    share: float,
) -> Float[Tensor, "*b n c"]:
    """The weights of softmax that are kept, divided by the share of them, applied to the values."""
    scores = q @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return (torch.softmax(scores, -1) * kept / share) @ v
