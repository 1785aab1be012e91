"""Numbers without a meaning of their own: how batches are indexed, and powers that are flat at zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # type: ignore[attr-defined]

__all__ = ["explicit", "is_mapped", "length", "pick", "power", "root"]


def is_mapped() -> bool:
    """Whether ``torch.vmap`` looks on, which cannot follow work that depends on the numbers."""
    stack = functorch.get_interpreter_stack()
    return any(level.key() == functorch.TransformType.Vmap for level in stack or ())


def explicit(index: Any, batch: torch.Size) -> tuple[Any, ...]:
    """An index into a tensor of shape ``batch`` that means the same before further dimensions: no ellipsis.

    Raises:
        IndexError, TypeError: If there is no such problem.
    """
    parts = index if isinstance(index, tuple) else (index,)
    device = next((part.device for part in parts if isinstance(part, Tensor)), None)
    torch.empty(batch, dtype=torch.bool, device=device)[index]
    place = next((k for k, part in enumerate(parts) if part is Ellipsis), None)
    if place is None:
        return parts
    rest = parts[:place] + parts[place + 1 :]
    filled = len(batch) - sum(_consumed(part) for part in rest)
    return (*parts[:place], *(slice(None),) * filled, *parts[place + 1 :])


def _consumed(part: Any) -> int:
    """How many dimensions one part of an index uses up."""
    if part is None or isinstance(part, bool):
        return 0
    mask = torch.as_tensor(part) if not isinstance(part, (slice, int)) else None
    return mask.ndim if mask is not None and mask.dtype in (torch.bool, torch.uint8) else 1


def pick(held: Any, core: int, batch: torch.Size, index: Any) -> Any:
    """The problems of a batch at ``index``, which is that of a tensor of shape ``batch``.

    All but the last ``core`` dimensions of a tensor are broadcast to ``batch`` first, so that what problems share is
    picked too; what is no tensor belongs to all problems and stays.
    """
    if not isinstance(held, Tensor):
        return held
    return held.expand(*batch, *held.shape[held.ndim - core :])[explicit(index, batch)]


def power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for base >= 0, with derivatives zero at zero instead of infinite or undefined."""
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    zero = base == 0
    return base.masked_fill(zero, 1).pow(exponent).masked_fill(zero, 0)


def root(base: Tensor, order: float) -> Tensor:
    """The root of that order of what should be non-negative: zero from rounding below zero, NaN from NaN."""
    return power(base.clamp_min(0), 1 / order)


def length(vectors: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension, with derivatives zero at zero."""
    return power((vectors * vectors).sum(-1), 0.5)
