"""Numbers without a meaning of their own: how batches are indexed and broadcast, precision, blocks, sums and powers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # type: ignore[attr-defined]
from torch.utils.checkpoint import checkpoint

from ._parts import parts_of

__all__ = [
    "at",
    "broadcast_shapes",
    "column",
    "explicit",
    "gap_power",
    "is_mapped",
    "length",
    "log_small",
    "log_sum_exp",
    "pick",
    "pieces",
    "power",
    "recompute",
    "root",
    "row_blocks",
    "rows_per_block",
    "take",
    "working_dtype",
]

# One array of a block. A backward pass keeps about ten of them, so that peak memory stays under 100 MB.
BLOCK_BYTES = 2**22
_Number = TypeVar("_Number", bound="Tensor | float")
_NO_SHAPE = torch.Size()


def is_mapped() -> bool:
    """Whether ``torch.vmap`` looks on, which cannot follow work that depends on the numbers."""
    if not torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling():
        return False
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
    return held.expand((*batch, *held.shape[held.ndim - core :]))[explicit(index, batch)]


def take(points: Tensor, index: Tensor) -> Tensor:
    """``points[..., index, :]``, where the index may have batch dimensions of its own."""
    if index.ndim == 1:
        return points.index_select(-2, index)
    batch = broadcast_shapes(points.shape[:-2], index.shape[:-1])
    where = index[..., None].expand(*batch, index.shape[-1], points.shape[-1])
    return points.expand(*batch, *points.shape[-2:]).gather(-2, where)


def at(vector: Tensor, index: Tensor) -> Tensor:
    """``vector[..., index]``, where the index may have batch dimensions of its own."""
    batch = broadcast_shapes(vector.shape[:-1], index.shape[:-1])
    return vector.expand(*batch, vector.shape[-1]).gather(-1, index.expand(*batch, index.shape[-1]))


def column(number: _Number, count: int = 1) -> _Number:
    """A number, or one per problem, ready to meet ``count`` dimensions of points."""
    return number[(..., *(None,) * count)] if isinstance(number, Tensor) else number  # type: ignore[return-value]


def broadcast_shapes(*shapes: Sequence[int]) -> torch.Size:
    """What ``torch.broadcast_shapes`` says, without the computer algebra that its first call imports (seconds).

    Raises:
        RuntimeError: If the shapes do not broadcast.
    """
    whole: Sequence[int] = _NO_SHAPE
    for shape in shapes:
        if shape and shape != whole:  # there is nothing to do for most small problems
            whole = _two_shapes(whole, shape, shapes) if whole else shape
    return whole if isinstance(whole, torch.Size) else torch.Size(whole)


def _two_shapes(one: Sequence[int], other: Sequence[int], told: Sequence[Sequence[int]]) -> Sequence[int]:
    sizes = []
    for mine, theirs in zip_longest(reversed(one), reversed(other), fillvalue=1):
        if mine != theirs and 1 not in (mine, theirs):
            raise RuntimeError(f"shapes {', '.join(str(tuple(shape)) for shape in told)} do not broadcast")
        sizes.append(theirs if mine == 1 else mine)
    return torch.Size(reversed(sizes))


def working_dtype(*held: Any) -> torch.dtype:
    """The widest dtype among dtypes and what has one, and at least float32: half precision is for storage."""
    widest = torch.float32
    for one in held:
        if one is not None:
            dtype = one if isinstance(one, torch.dtype) else one.dtype
            widest = dtype if dtype == widest else torch.promote_types(widest, dtype)
    return widest


def rows_per_block(bytes_per_row: int, most: int | None = None) -> int:
    """How many rows make a block of about ``most`` bytes, ``BLOCK_BYTES`` if not said; at least one."""
    return max(1, (most or BLOCK_BYTES) // max(1, bytes_per_row))


def pieces(count: int, step: int) -> list[slice]:
    """``range(count)`` in pieces of ``step``, the last of which may be shorter."""
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]


def row_blocks(count: int, bytes_per_row: int, most: int | None = None) -> list[slice]:
    """The slices of ``count`` rows that make such blocks, the last one perhaps smaller."""
    return pieces(count, rows_per_block(bytes_per_row, most))


def recompute(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, made again in a backward pass, with the parameters that its modules have now."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    # A tracing compiler follows parameters by itself, and cannot take functions apart.
    parts, same = None if torch.compiler.is_compiling() else parts_of(function), function
    if parts is not None and not any(isinstance(t, Tensor) and t.requires_grad for t in (*parts.tensors, *arguments)):
        return function(*arguments)
    if parts is not None and parts.modules:
        lent = list(parts.tensors)

        def same(*given: Any) -> Any:
            return parts.within(lent, lambda held: held(*given))

    return checkpoint(same, *arguments, use_reentrant=False, preserve_rng_state=False)


def log_sum_exp(scores: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """The log of the sum of exp along ``dim``, and where only -inf was summed; there the first is zero.

    The zero keeps derivatives finite: callers put the infinity of their own sign last.
    """
    empty = (scores == -torch.inf).all(dim, keepdim=True)
    total = torch.logsumexp(scores.masked_fill(empty, 0), dim)
    empty = empty.squeeze(dim)
    return total.masked_fill(empty, 0), empty


def log_small(numbers: Tensor) -> Tensor:
    """The logarithm of as many numbers as there are points, on this thread.

    The one of torch hands as few as a hundred numbers to several threads, and waking them takes many times longer.
    """
    return torch.xlogy(1.0, numbers)


def power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent`` for base >= 0, with derivatives zero at zero instead of infinite or undefined."""
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    zero = base == 0
    return base.masked_fill(zero, 1).pow(exponent).masked_fill(zero, 0)


def gap_power(gap: Tensor, exponent: float) -> Tensor:
    """``|gap| ** exponent`` with a zero derivative at zero, whatever exponent >= 1."""
    return gap * gap if exponent == 2 else power(gap.abs(), exponent)


def root(base: Tensor, order: float) -> Tensor:
    """The root of that order of what should be non-negative: zero from rounding below zero, NaN from NaN."""
    return power(base.clamp_min(0), 1 / order)


def length(vectors: Tensor) -> Tensor:
    """Euclidean lengths along the last dimension, with derivatives zero at zero."""
    return power((vectors * vectors).sum(-1), 0.5)
