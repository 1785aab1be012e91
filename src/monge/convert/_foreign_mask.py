"""Masks as other libraries write them, taken apart into padding, order and pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge.errors import DtypeError, InputError, ShapeError

# What is added to a score to forbid it: -inf, the least number of the dtype, or this in older code.
_FORBIDDEN = -1e4


def read_mask(
    mask: Tensor, lead: Sequence[int], n: int, m: int, *, causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Padding (*b, m) of the keys, and a mask of pairs if padding and order do not say it all.

    Args:
        mask: (batch, m), one or True to keep a key; or (batch, 1 or heads, 1 or n, m), True to keep a pair, or floats
            added to the scores, hugely negative to forbid.
        lead: Batch and heads.
        n: Queries.
        m: Keys.
        causal: Whether later keys are forbidden anyway.

    Returns:
        Padding, True = absent; and pairs as couplers take them, None if nothing is left to say.

    Raises:
        ShapeError: The mask is no mask of these queries and keys, or could be one of either.
        InputError: Its numbers mean something else.
    """
    traced = torch.compiler.is_compiling()
    if mask.ndim == 2:
        return _of_keys(mask, lead[0], n, m), None
    wanted = (*lead[-2:], n, m)
    fits = mask.ndim == 4 == len(wanted) and all(a in (1, b) for a, b in zip(mask.shape, wanted, strict=True))
    if not fits or mask.shape[-1] != m:
        raise ShapeError(
            f"A mask of {n} queries and {m} keys must have shape ({lead[0]}, {m}) or ({lead[0]}, 1 or {lead[-1]}, 1 or "
            f"{n}, {m}), but has {tuple(mask.shape)}: write a mask per head as mask[None], one per sample as "
            "mask[:, None]."
        )
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        raise DtypeError(
            "A mask of pairs must hold booleans, True = keep, or floats that are added to the scores, but its dtype "
            f"is {mask.dtype}: pass mask.bool() if a one means keep."
        )
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


def _of_keys(mask: Tensor, batch: int, n: int, m: int) -> Tensor:
    """Padding from a mask of keys, of which ones are kept; a mask of pairs without a batch would look alike."""
    if mask.shape not in ((batch, m), (1, m)) or (n == batch == m > 1 and mask.dtype == torch.bool):
        raise ShapeError(
            f"A mask of two dimensions must be one of keys, ({batch}, {m}), but has shape {tuple(mask.shape)}, which "
            f"is or could be one of {n} x {m} pairs: write a mask of keys as mask[:, None, None] and one of pairs as "
            "mask[None, None], both True to keep."
        )
    if mask.dtype == torch.bool:
        return ~mask
    if torch.compiler.is_compiling():
        if mask.is_floating_point():
            raise InputError("A mask of keys must be boolean or of integers in a compiled model: pass mask.bool().")
        return mask == 0
    keep = mask == 1
    strange = bool((~keep & (mask != 0)).any())
    # Zeros that are added to scores would keep everything.
    if strange or (mask.is_floating_point() and mask.numel() and not bool(keep.any())):
        held = sorted({mask.min().item(), mask.max().item()}) if mask.numel() else []
        raise InputError(
            f"A mask of keys must hold 1 (keep) and 0 (ignore), but holds numbers from {held[0]:g} to {held[-1]:g}: "
            "floats that are added to scores have the shape (batch, 1, 1, keys)."
        )
    return ~keep
