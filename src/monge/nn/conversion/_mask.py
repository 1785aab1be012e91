"""Masks as other libraries write them, taken apart into padding, order and pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import InputError, ShapeError

__all__ = ["read_mask"]

# What is added to a score to forbid it: -inf, the least number of the dtype, or this in older code.
_FORBIDDEN = -1e4


def read_mask(mask: Tensor, n: int, m: int, *, causal: bool) -> tuple[Tensor | None, Tensor | None]:
    """Padding (*b, m) of the keys, and a mask of pairs if padding and order do not say it all.

    Args:
        mask: (*b, m), one or True to keep a key; or (*b, 1 or heads, 1 or n, m), True to keep a pair, or floats added
            to the scores, hugely negative to forbid.
        n: queries.
        m: keys.
        causal: whether later keys are forbidden anyway.

    Returns:
        Padding, True = absent; and pairs as couplers take them, None if nothing is left to say.

    Raises:
        ShapeError: the mask is no mask of n queries and m keys.
        InputError: its numbers mean something else.
    """
    traced = torch.compiler.is_compiling()
    if mask.ndim == 2 and mask.shape[-1] == m:
        if mask.dtype != torch.bool and not traced and bool((mask < 0).any()):
            raise InputError("A mask of keys must hold 1 (keep) and 0 (ignore), but has negative numbers.")
        return ~mask if mask.dtype == torch.bool else mask == 0, None
    if mask.ndim == 3:
        mask = mask[..., None, :, :]
    if mask.ndim < 3 or mask.shape[-1] != m or mask.shape[-2] not in (1, n):
        raise ShapeError(
            f"A mask of {n} queries and {m} keys must have shape (batch, {m}) or (batch, 1 or heads, 1 or {n}, {m}), "
            f"but has {tuple(mask.shape)}."
        )
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        raise InputError(f"A mask of pairs must hold booleans or floats, but its dtype is {mask.dtype}.")
    forbidden = ~mask if mask.dtype == torch.bool else mask <= _FORBIDDEN
    pairs = forbidden if mask.dtype == torch.bool else mask.masked_fill(forbidden, -math.inf)
    if mask.shape[-3] != 1:
        return None, pairs
    if traced:
        # A graph cannot depend on what the mask holds: one row of booleans is padding, anything else is pairs.
        row = mask.shape[-2] == 1 and mask.dtype == torch.bool
        return (forbidden[..., 0, 0, :], None) if row else (None, pairs)
    if causal and mask.shape[-2] > 1:
        later = torch.ones(n, m, dtype=torch.bool, device=mask.device).triu(1)
        # The last query sees every key that is there. What padded queries see does not matter.
        padding = forbidden[..., 0, -1, :]
        expected = padding[..., None, None, :] | later
        differs = ((forbidden | later) != expected) & ~padding[..., None, :, None]
    else:
        padding = forbidden[..., 0, :, :].all(-2)
        differs = forbidden != padding[..., None, None, :]
    if mask.dtype != torch.bool:
        differs = differs | ((mask != 0) & ~forbidden)
    if bool(differs.any()):
        return None if causal else padding, pairs
    return padding if bool(padding.any()) else None, None
