"""Softmax attention whose weights are dropped at random, for processors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .reference import dropped_softmax_reference
from .tiled import dropped_softmax_tiled, kept, takes

__all__ = ["dropped_softmax", "dropped_softmax_reference", "kept"]


def dropped_softmax(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    mask: Tensor | None,
    dropout: float,
) -> Float[Tensor, "*b n c"] | None:
    r"""softmax(q k^T) V with weights dropped at random and the others divided by what is kept, if this is the place.

    Frameworks fuse attention on the processor, but not with dropout, where they store and revisit several matrices of
    all pairs. Here a few heads at a time stay in cache; what is dropped is drawn again in backward from one number.

    Args:
        q: queries, multiplied by the scale of the scores.
        k: keys.
        v: values.
        mask: True where a pair is allowed, or a constant added to its score; at least one pair of a row is allowed.
        dropout: probability with which a weight is dropped, to sixteen bits.

    Returns:
        What every query reads, in the dtype of the values; None on other devices, in half
        precision, under a mask that has a gradient, and if nothing is kept.
    """
    if not takes(q, k, v, mask, dropout):
        return None
    seed = torch.randint(2**63 - 1, ())
    return dropped_softmax_tiled(q, k, v, mask, seed, dropout)
