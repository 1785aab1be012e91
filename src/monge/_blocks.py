"""Answers from blocks of rows: nothing of size n x m stays alive, and a backward pass computes blocks again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._arrays import recompute, rows_per_block, working_dtype

__all__ = ["added", "asked", "entries", "joined", "rows_at_once"]


def joined(body: Callable[[Any], Any], blocks: Iterable[Any], dim: int) -> Any:
    """What ``body`` answers for blocks, a tensor or a tuple of tensors, one after the other along ``dim``."""
    parts = [recompute(body, rows) for rows in blocks]
    if isinstance(parts[0], Tensor):
        return torch.cat(parts, dim)
    return tuple(torch.cat(part, dim) for part in zip(*parts, strict=True))


def added(body: Callable[[Any], Tensor], blocks: Iterable[Any]) -> Tensor:
    """The sum of what ``body`` answers for blocks."""
    return torch.stack([recompute(body, rows) for rows in blocks]).sum(0)


def rows_at_once(held: Any, batch: Sequence[int], *, width: int = 1, max_bytes: int | None = None) -> int:
    """How many rows of a cost or a plan make a block of ``max_bytes``, when ``width`` numbers are held per entry."""
    numbers = math.prod(batch) * held.shape[-1] * max(1, width, held._scalars_per_entry())
    return rows_per_block(numbers * working_dtype(held).itemsize, max_bytes)


def entries(held: Any, batch: Sequence[int], i: Tensor, j: Tensor, *, width: int = 1) -> Tensor:
    """The entries [i, j] of a cost or a plan, from blocks of the rows that are asked for."""
    m = held.shape[-1]

    def body(rows: Tensor, problem: Tensor, place: Tensor, j: Tensor) -> Tensor:
        return held._block(rows).expand(*batch, len(rows), m).reshape(-1, len(rows), m)[problem, place, j]

    return asked(body, batch, i, j, step=rows_at_once(held, batch, width=width), dtype=held.dtype)


def asked(
    body: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    batch: Sequence[int],
    i: Tensor,
    other: Tensor,
    *,
    step: int,
    dtype: torch.dtype,
) -> Tensor:
    """Answers to queries (i, other), in the order of their rows i, with at most ``step`` rows at a time.

    Args:
        body: Answers queries: it is given their distinct rows, and of each query the problem, the place of its row
            among them, and the other.
        batch: The problems; queries (k,) or (*b, k) broadcast to them.
        i: The row of each query.
        other: What else is asked.
        step: How many rows make a block.
        dtype: That of the answers.
    """
    k = max(i.shape[-1], other.shape[-1])
    problem = torch.arange(math.prod(batch), device=i.device).repeat_interleave(k)
    i, other = i.expand(*batch, k).reshape(-1), other.expand(*batch, k).reshape(-1)
    needed, place = i.unique(return_inverse=True)
    place, order = place.sort(stable=True)
    problem, other = problem[order], other[order]
    cuts = torch.arange(0, len(needed) + step, step, device=i.device)
    bounds = torch.searchsorted(place, cuts).tolist()
    found = [
        recompute(body, needed[cut : cut + step], problem[low:high], place[low:high] - cut, other[low:high])
        for cut, low, high in zip(cuts.tolist(), bounds, bounds[1:], strict=False)
        if high > low
    ]
    if not found:
        return torch.zeros(*batch, k, dtype=dtype, device=i.device)
    return torch.cat(found)[order.argsort()].reshape(*batch, k)
