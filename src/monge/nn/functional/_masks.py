"""What a mask may be, said once for attention, couplers, functions and converted models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge.errors import DtypeError, ShapeError

__all__ = ["as_pair_mask", "check_padding"]


def check_padding(*paddings: Tensor | None) -> None:
    """Padding must be boolean: of ones and zeros nobody knows which are absent.

    Raises:
        DtypeError: One is not boolean.
    """
    for padding in paddings:
        if padding is not None and padding.dtype != torch.bool:
            raise DtypeError(
                "A mask of padding must be boolean, True where a token is absent, but its dtype is "
                f"{padding.dtype}: pass mask == 0 if ones mark the tokens that are there, mask != 0 if ones mark "
                "padding."
            )


def as_pair_mask(pairs: Tensor | None, lead: Sequence[int], n: int, m: int) -> Tensor | None:
    """A mask of pairs with all dimensions of the scores (*lead, n, m), or with the last two alone.

    Three dimensions are those of `torch.nn.MultiheadAttention`: one mask per sample and head, side by side. What has
    as many dimensions as the scores broadcasts to them. Nothing else is taken, since a mask per head and a mask per
    sample would look the same.

    Args:
        pairs: Booleans, True = forbidden, or floats added to the scores.
        lead: Batch and heads.
        n: Queries.
        m: Keys.

    Raises:
        DtypeError: The mask is neither boolean nor floating.
        ShapeError: Its shape is none of these.
    """
    if pairs is None:
        return None
    if pairs.dtype != torch.bool and not pairs.is_floating_point():
        raise DtypeError(
            f"attn_mask must be boolean, True where a pair is forbidden, or floats added to the scores, but its dtype "
            f"is {pairs.dtype}: pass mask == 0 if ones mark the pairs that may meet, mask != 0 if ones forbid."
        )
    given, full = tuple(pairs.shape), (*lead, n, m)
    if given == (n, m):
        return pairs
    if given == (math.prod(lead), n, m):
        return pairs.reshape(full)
    fits = all(size in (1, wanted) for size, wanted in zip(given, full, strict=False))
    if len(given) == len(full) and fits:
        return pairs.expand(*given[:-2], n, m)
    raise ShapeError(
        f"attn_mask must have shape ({n}, {m}), ({math.prod(lead)}, {n}, {m}) with one mask per sample and head as in "
        f"torch.nn.MultiheadAttention, or one that broadcasts to {full}, but has {given}: write a mask per head as "
        "mask[None], a mask per sample as mask[:, None]."
    )
