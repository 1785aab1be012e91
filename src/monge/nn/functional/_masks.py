"""What a mask may be, said once for attention, couplers, functions and converted models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge.errors import DtypeError, InputError, ShapeError


def check_mask(name: str, mask: Tensor, told: str, floats: str = "") -> None:
    """A mask must be boolean, or floating where that means something: of ones and zeros nobody knows what they say.

    Args:
        name: What to call it.
        mask: The mask.
        told: What holds where it is True.
        floats: What floats would say; refused if empty.

    Raises:
        DtypeError: It is not.
    """
    if mask.dtype != torch.bool and not (floats and mask.is_floating_point()):
        rule = f"True where {told}, or floats {floats}" if floats else f"True where {told}"
        raise DtypeError(
            f"{name} must be boolean, {rule}, but its dtype is {mask.dtype}: pass mask != 0 if ones mark where {told}, "
            "and mask == 0 if zeros mark it."
        )


def check_padding(*paddings: Tensor | None) -> None:
    """Padding inside the library is boolean.

    Raises:
        DtypeError: One is not.
    """
    for padding in paddings:
        if padding is not None:
            check_mask("A mask of padding", padding, "a token is absent")


def as_padding(name: str, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """Padding of tokens (*batch, tokens, width) as users of `torch.nn.MultiheadAttention` write it, made boolean.

    Raises:
        ShapeError: It is not one entry per token.
        DtypeError: It is neither boolean nor floating.
        InputError: Its floats hold something else than 0 and -inf.
    """
    if mask is None:
        return None
    if mask.shape != tokens.shape[:-1]:
        raise ShapeError(
            f"{name} must have shape {tuple(tokens.shape[:-1])}, one entry per token, but has {tuple(mask.shape)}."
        )
    check_mask(name, mask, "a token is absent", "of 0 and -inf")
    if mask.dtype == torch.bool:
        return mask
    ignored = mask == -math.inf
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(((mask != 0) & ~ignored).any()):
        raise InputError(
            f"{name} of floats must hold only 0 (keep) and -inf (ignore), but holds other numbers: pass a bias as "
            "attn_mask."
        )
    return ignored


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
    check_mask("attn_mask", pairs, "a pair is forbidden", "added to the scores")
    given, full = tuple(pairs.shape), (*lead, n, m)
    if given == (n, m):
        return pairs
    if given == (math.prod(lead), n, m):
        return pairs.reshape(full)
    if len(given) == len(full) and all(size in (1, wanted) for size, wanted in zip(given, full, strict=True)):
        return pairs.expand(*given[:-2], n, m)
    raise ShapeError(
        f"attn_mask must have shape ({n}, {m}), ({math.prod(lead)}, {n}, {m}) with one mask per sample and head as in "
        f"torch.nn.MultiheadAttention, or one that broadcasts to {full}, but has {given}: write a mask per head as "
        "mask[None], a mask per sample as mask[:, None]."
    )
