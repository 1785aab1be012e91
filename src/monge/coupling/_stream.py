"""Answers from blocks of rows: nothing of size n x m stays alive, and a backward pass computes blocks again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import recompute, rows_per_block, working_dtype

from ._numbers import fraction, minus_x_log_x

if TYPE_CHECKING:
    from monge.geometry import Geometry

    from ._hooks import Representation

__all__ = [
    "assignment",
    "at",
    "dense",
    "entropy",
    "extract",
    "factored_inner",
    "inner",
    "matmul",
    "row_blocks",
    "sample_rows",
    "top_k",
    "weighted",
]


def step(P: Representation, *, width: int = 1, max_bytes: int | None = None) -> int:
    """How many rows make a block of ``max_bytes``, when ``width`` numbers are held per entry."""
    *batch, _, m = P._shape()
    size = working_dtype(P).itemsize
    held = max(1, width, P._scalars_per_entry())
    return rows_per_block(math.prod(batch) * m * size * held, max_bytes)


def row_blocks(P: Representation, *, width: int = 1, max_bytes: int | None = None) -> Iterator[slice]:
    """Slices of rows whose blocks take about ``max_bytes`` an array."""
    n, count = P._shape()[-2], step(P, width=width, max_bytes=max_bytes)
    return (slice(start, min(n, start + count)) for start in range(0, n, count))


def matmul(P: Representation, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
    """P v from blocks."""

    def body(rows: slice) -> Tensor:
        return P._block(rows) @ v

    return torch.cat([recompute(body, rows) for rows in row_blocks(P)], -2)


def dense(P: Representation) -> Float[Tensor, "*b n m"]:
    """The whole matrix."""
    blocks = [P._block(rows) for rows in row_blocks(P, max_bytes=2**26)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -2)


def assignment(matrix: Float[Tensor, "*b n n"]) -> Int[Tensor, "*b n"]:
    """The bijection of largest total weight, problem by problem."""
    from scipy.optimize import linear_sum_assignment

    flat = matrix.double().cpu().flatten(0, -3) if matrix.ndim > 2 else matrix.double().cpu()[None]
    found = torch.empty(flat.shape[:-1], dtype=torch.long)
    for k, one in enumerate(flat):
        found[k] = torch.as_tensor(linear_sum_assignment(one.numpy(), maximize=True)[1])
    return found.reshape(matrix.shape[:-1]).to(matrix.device)


def inner(P: Representation, geometry: Geometry) -> Float[Tensor, "*b"]:
    """<P, C> from blocks of both; mass on a forbidden pair costs infinity."""

    def body(rows: slice) -> Tensor:
        plan, cost = P._block(rows), geometry._block(rows)
        return weighted(plan, cost).sum((-1, -2))

    width = 2 + geometry._scalars_per_entry()
    return torch.stack([recompute(body, rows) for rows in row_blocks(P, width=width)]).sum(0)


def factored_inner(P: Representation, geometry: Geometry) -> Float[Tensor, "*b"] | None:
    """<P, A B^T> = <A, P B>; None if there are no factors or their rounding would be seen."""
    factors = geometry.factors()
    if factors is None:
        return None
    left, right = factors
    terms = left * P._matmul(right)
    total = terms.sum((-1, -2))
    # Squared distances expand into terms that cancel when mass moves little beside the size of the clouds.
    lost = 16 * torch.finfo(terms.dtype).eps * terms.detach().abs().sum((-1, -2))
    allowed = 1e-10 if terms.dtype == torch.float64 else 1e-4
    return total if bool((lost <= allowed * total.detach().abs()).all()) else None


def weighted(plan: Tensor, cost: Tensor) -> Tensor:
    """Plan * cost, where no mass on a forbidden pair costs nothing, and derivatives there are zero."""
    cost = cost.to(working_dtype(plan, cost))
    forbidden = cost == math.inf
    spent = plan * cost.masked_fill(forbidden, 0)
    return spent.masked_fill(forbidden & (plan > 0), math.inf)


def entropy(P: Representation) -> Float[Tensor, "*b"]:
    """-sum P log P from blocks."""

    def body(rows: slice) -> Tensor:
        block = P._block(rows)
        return minus_x_log_x(block.to(working_dtype(block))).sum((-1, -2))

    return torch.stack([recompute(body, rows) for rows in row_blocks(P, width=3)]).sum(0)


def top_k(P: Representation, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
    """The k largest entries of each row, in decreasing order, and their columns."""

    def body(rows: slice) -> tuple[Tensor, Tensor]:
        block = P._block(rows)
        index = block.detach().topk(k, -1, sorted=True).indices
        return block.gather(-1, index), index

    parts = [recompute(body, rows) for rows in row_blocks(P, width=2)]
    return torch.cat([part[0] for part in parts], -2), torch.cat([part[1] for part in parts], -2)


def extract(P: Representation, threshold: float) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """The entries above a threshold of a coupling without batch dimensions, in row-major order."""
    found = []
    with torch.no_grad():
        for rows in row_blocks(P, width=2):
            i, j = (P._block(rows) > threshold).nonzero(as_tuple=True)
            found.append((i + rows.start, j))
    i, j = (torch.cat(parts) for parts in zip(*found, strict=True))
    return i, j


def at(P: Representation, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
    """P[i, j] entry by entry, from blocks of the rows that are asked for."""
    batch, order, parts = _by_rows(P, i, j)

    def body(rows: Tensor, problem: Tensor, place: Tensor, j: Tensor) -> Tensor:
        return P._block(rows).reshape(-1, len(rows), P._shape()[-1])[problem, place, j]

    found = [recompute(body, *part) for part in parts]
    if not found:
        return torch.zeros(*batch, i.shape[-1], dtype=P.dtype, device=P.device)
    return torch.cat(found)[order.argsort()].reshape(*batch, -1)


@torch.no_grad()
def sample_rows(P: Representation, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
    """A column for each row i, drawn from that row, by inversion at u in [0, 1)."""
    batch, order, parts = _by_rows(P, i, u)
    found = []
    for rows, problem, place, level in parts:
        below = P._block(rows).double().cumsum(-1)
        m = below.shape[-1]
        # Rows of mass one, end to end, are a single increasing list that is searched at once.
        below = fraction(below, below[..., -1:]).reshape(-1, m)
        line = problem * len(rows) + place
        start = torch.arange(len(below), dtype=below.dtype, device=below.device)
        at = torch.minimum(line + level, torch.nextafter(line + 1.0, torch.zeros((), dtype=below.dtype)))
        found.append(torch.searchsorted((below + start[:, None]).reshape(-1), at, right=True) - line * m)
    if not found:
        return torch.zeros(*batch, i.shape[-1], dtype=torch.long, device=P.device)
    return torch.cat(found)[order.argsort()].reshape(*batch, -1)


def _by_rows(
    P: Representation, i: Tensor, other: Tensor
) -> tuple[torch.Size, Tensor, Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """Queries (i, other) in the order of their rows, in parts whose rows fit a block.

    A part holds its distinct rows, and of each query the problem, the place of its row among them, and the other.
    """
    batch = torch.Size(P._shape()[:-2])
    k = i.shape[-1]
    problem = torch.arange(math.prod(batch), device=i.device).repeat_interleave(k)
    i, other = i.expand(*batch, k).reshape(-1), other.expand(*batch, k).reshape(-1)
    needed, place = i.unique(return_inverse=True)
    place, order = place.sort(stable=True)
    problem, other = problem[order], other[order]
    size = step(P, width=3)
    cuts = torch.arange(0, len(needed) + size, size, device=i.device)
    bounds = torch.searchsorted(place, cuts).tolist()
    parts = (
        (needed[cut : cut + size], problem[low:high], place[low:high] - cut, other[low:high])
        for cut, low, high in zip(cuts.tolist(), bounds, bounds[1:], strict=False)
        if high > low
    )
    return batch, order, parts
