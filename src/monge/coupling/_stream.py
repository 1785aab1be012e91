"""Answers from blocks of rows: nothing of size n x m stays alive, and a backward pass computes blocks again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import pieces, working_dtype
from monge._blocks import added, asked, joined, rows_at_once
from monge.geometry import Geometry

from ._numbers import fraction, minus_x_log_x

if TYPE_CHECKING:
    from ._hooks import Representation


def row_blocks(P: Representation, *, width: int = 1, max_bytes: int | None = None) -> list[slice]:
    """Slices of rows whose blocks take about ``max_bytes`` an array, when ``width`` numbers are held per entry."""
    *batch, n, _ = P._shape()
    return pieces(n, rows_at_once(P, batch, width=width, max_bytes=max_bytes))


def matmul(P: Representation, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
    """P v from blocks."""

    def body(rows: slice) -> Tensor:
        return P._block(rows) @ v

    return joined(body, row_blocks(P), -2)


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
    return added(body, row_blocks(P, width=width))


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

    return added(body, row_blocks(P, width=3))


def top_k(P: Representation, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
    """The k largest entries of each row, in decreasing order, and their columns."""

    def body(rows: slice) -> tuple[Tensor, Tensor]:
        block = P._block(rows)
        index = block.detach().topk(k, -1, sorted=True).indices
        return block.gather(-1, index), index

    return joined(body, row_blocks(P, width=2), -2)


@torch.no_grad()
def extract(P: Representation, threshold: float) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """The entries above a threshold of a coupling without batch dimensions, in row-major order."""

    def body(rows: slice) -> tuple[Tensor, Tensor]:
        i, j = (P._block(rows) > threshold).nonzero(as_tuple=True)
        return i + rows.start, j

    return joined(body, row_blocks(P, width=2), 0)


@torch.no_grad()
def sample_rows(P: Representation, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
    """A column for each row i, drawn from that row, by inversion at u in [0, 1)."""
    *batch, _, m = P._shape()

    def body(rows: Tensor, problem: Tensor, place: Tensor, level: Tensor) -> Tensor:
        below = P._block(rows).double().cumsum(-1)
        # Rows of mass one, end to end, are a single increasing list that is searched at once.
        below = fraction(below, below[..., -1:]).reshape(-1, m)
        line = problem * len(rows) + place
        start = torch.arange(len(below), dtype=below.dtype, device=below.device)
        at = torch.minimum(line + level, torch.nextafter(line + 1.0, torch.zeros((), dtype=below.dtype)))
        return torch.searchsorted((below + start[:, None]).reshape(-1), at, right=True) - line * m

    return asked(body, batch, i, u, step=rows_at_once(P, batch, width=3), dtype=torch.long)
