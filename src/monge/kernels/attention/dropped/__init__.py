"""Softmax attention whose weights are dropped at random, for processors."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from .tiled import dropped_softmax_tiled, dropping

__all__ = ["dropped_softmax", "dropping"]


@transformable
def dropped_softmax(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    mask: Tensor | None,
    dropout: float,
) -> Float[Tensor, "*b n c"]:
    r"""softmax(q k^T) V with weights dropped at random and the others divided by what is kept.

    Frameworks fuse attention on the processor, but not with dropout, where they store and revisit several matrices of
    all pairs. Here a few heads at a time stay in cache; what is dropped is drawn again in backward from one number.

    Args:
        q: queries, multiplied by the scale of the scores.
        k: keys.
        v: values.
        mask: True where a pair is allowed, or a constant added to its score; at least one pair of a row is allowed.
        dropout: probability with which a weight is dropped, to sixteen bits.

    Returns:
        What every query reads, in the dtype of the values.

    Only where `dropping` says so: on the processor, in one full precision, with a mask that has no gradient.
    """
    seed = torch.randint(2**63 - 1, ())
    return dropped_softmax_tiled(q, k, v, mask, seed, dropout)
