"""The two sides of pivot attention in Triton: one pass over the tokens each, nothing of size n r is stored.

Imported when a tensor in CUDA first asks, or by tests in Triton's interpreter. Tokens are (outer, heads, n, width) of
any strides and any float of at most 32 bits; sums and everything of size r are float32, the masses of the pivots
float64. A pass is split over its tokens; each part writes its own sums, which are added afterwards, so that results do
not depend on the order of execution.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .mixing import TINY
from .reference import Side

__all__ = ["gradient", "mix", "mix_gradient", "pack", "unpack"]

# Programs that keep any device busy; fewer parts mean fewer partial sums.
_PROGRAMS = 512


@triton.jit
def _share(x, pivots, bias, alive, PRECISION: tl.constexpr):
    """Softmax over the pivots, zero on the rows that are not alive."""
    score = tl.dot(x, tl.trans(pivots), input_precision=PRECISION) + bias[None, :]
    share = tl.exp(score - tl.max(score, 1)[:, None])
    return tl.where(alive[:, None], share / tl.sum(share, 1)[:, None], 0.0)


@triton.jit
def _tile(base, rows, columns, stride_row, stride_column, n_rows, n_columns):
    """A block of a matrix in float32, zero outside of it."""
    inside = (rows < n_rows)[:, None] & (columns < n_columns)[None, :]
    at = rows.to(tl.int64)[:, None] * stride_row + columns[None, :] * stride_column
    return tl.load(base + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(base, block, rows, columns, width, n_rows, n_columns):
    """Store a block of a matrix whose rows are ``width`` apart."""
    inside = (rows < n_rows)[:, None] & (columns < n_columns)[None, :]
    at = rows.to(tl.int64)[:, None] * width + columns[None, :]
    tl.store(base + at, block.to(base.dtype.element_ty), mask=inside)


@triton.jit
def _pass(
    x, x_outer, x_head, x_row, x_column,
    pivots, z_outer, z_head, z_row, z_column,
    bias, b_outer, b_head, b_column, unpadded, k_outer, k_head, k_row,
    y, y_outer, y_head, y_row, y_column,
    table, d_use, out, sums, heads, blocks, n, r, d, c,
    R: tl.constexpr, D: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr,
    HAS_PADDING: tl.constexpr, HAS_Y: tl.constexpr, TASK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One part of the tokens of one head: TASK says whether they are packed, unpacked, or differentiated."""
    part, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    outer, inner = head // heads, head % heads
    x, y = x + outer * x_outer + inner * x_head, y + outer * y_outer + inner * y_head
    unpadded += outer * k_outer + inner * k_head
    pivot, width, column = tl.arange(0, R), tl.arange(0, D), tl.arange(0, C)
    z = _tile(pivots + outer * z_outer + inner * z_head, pivot, width, z_row, z_column, r, d)
    bias += outer * b_outer + inner * b_head
    b = tl.load(bias + pivot * b_column, mask=pivot < r, other=-float("inf")).to(tl.float32)
    if TASK != "pack":
        t = _tile(table + head * r * c, pivot, column, c, 1, r, c)
    if TASK == "gradient":
        felt = tl.load(d_use + head * r + pivot, mask=pivot < r, other=0.0)
    use = tl.zeros((R,), tl.float32)
    moved = tl.zeros((R, C if TASK == "pack" else D), tl.float32)
    for block in range(part * blocks, (part + 1) * blocks):
        rows = block * BLOCK + tl.arange(0, BLOCK)
        alive = rows < n
        if HAS_PADDING:
            alive = alive & (tl.load(unpadded + rows.to(tl.int64) * k_row, mask=alive, other=0.0) != 0)
        tokens = tl.where(alive[:, None], _tile(x, rows, width, x_row, x_column, n, d), 0.0)
        share = _share(tokens, z, b, alive, PRECISION)
        if HAS_Y:
            values = tl.where(alive[:, None], _tile(y, rows, column, y_row, y_column, n, c), 0.0)
        if TASK == "pack":
            use += tl.sum(share, 0)
            if HAS_Y:
                moved += tl.dot(tl.trans(share), values, input_precision=PRECISION)
        if TASK == "unpack":
            _store(out + head * n * c, tl.dot(share, t, input_precision=PRECISION), rows, column, c, n, c)
        if TASK == "gradient":
            d_share = tl.zeros((BLOCK, R), tl.float32) + felt[None, :]
            if HAS_Y:
                d_share += tl.dot(values, tl.trans(t), input_precision=PRECISION)
            d_score = share * (d_share - tl.sum(share * d_share, 1)[:, None])
            use += tl.sum(d_score, 0)
            moved += tl.dot(tl.trans(d_score), tokens, input_precision=PRECISION)
            _store(out + head * n * d, tl.dot(d_score, z, input_precision=PRECISION), rows, width, d, n, d)
    if TASK != "unpack":
        wide = c if TASK == "pack" else d
        here = sums + (part * tl.num_programs(1) + head) * r * (wide + 1)
        tl.store(here + pivot * (wide + 1) + wide, use, mask=pivot < r)
        _store(here, moved, pivot, column if TASK == "pack" else width, wide + 1, r, wide)


@triton.jit
def _masses(use, pivot, stride, r, TINY: tl.constexpr):
    """Uses of the pivots in float64, normalised, and their total."""
    mass = tl.load(use + pivot * stride, mask=pivot < r, other=0.0).to(tl.float64)
    total = tl.maximum(tl.sum(mass, 0), TINY)
    return mass / total, total


@triton.jit
def _mix(
    use_q, q_row, q_column, use_k, k_row, k_column, totals, t_head, t_row, t_column,
    d_table, out, d_use_q, d_use_k, r, c,
    R: tl.constexpr, C: tl.constexpr, TINY: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    """The maximal coupling of one head applied to the means of its pivots, or the derivative of that."""
    head = tl.program_id(0).to(tl.int64)
    pivot, column = tl.arange(0, R), tl.arange(0, C)
    start = head * r * c
    p1, total_q = _masses(use_q + head * q_row, pivot, q_column, r, TINY)
    p2, total_k = _masses(use_k + head * k_row, pivot, k_column, r, TINY)
    stay = tl.minimum(p2 / tl.maximum(p1, TINY), 1.0)
    missing = tl.maximum(p2 - p1, 0.0)
    excess = tl.maximum(tl.sum(missing, 0), TINY)
    spare = missing / excess
    held = tl.maximum((p2 * total_k).to(tl.float32), TINY)[:, None]
    own = _tile(totals + head * t_head, pivot, column, t_row, t_column, r, c) / held
    remain, lend = stay.to(tl.float32)[:, None], spare.to(tl.float32)[:, None]
    rest = tl.sum(lend * own, 0)[None, :]
    if not GRADIENT:
        _store(out + start, rest + remain * (own - rest), pivot, column, c, r, c)
    else:
        gradient = _tile(d_table + start, pivot, column, c, 1, r, c)
        d_stay = tl.sum(gradient * (own - rest), 1).to(tl.float64)
        d_rest = tl.sum((1.0 - remain) * gradient, 0)[None, :]
        d_spare = tl.sum(own * d_rest, 1).to(tl.float64)
        d_excess = (d_spare - tl.sum(spare * d_spare, 0)) / excess
        inverse = 1.0 / tl.maximum(p1, TINY)
        d_p1 = tl.where(p2 > p1, -d_excess, -d_stay * stay * inverse)
        d_p2 = tl.where(p2 > p1, d_excess, d_stay * inverse)
        d_own = (remain * gradient + lend * d_rest) / held
        d_q = ((d_p1 - tl.sum(p1 * d_p1, 0)) / total_q).to(tl.float32)
        d_k = ((d_p2 - tl.sum(p2 * d_p2, 0)) / total_k).to(tl.float32) - tl.sum(d_own * own, 1)
        _store(out + start, d_own, pivot, column, c, r, c)
        tl.store(d_use_q + head * r + pivot, d_q, mask=pivot < r)
        tl.store(d_use_k + head * r + pivot, d_k, mask=pivot < r)


def pack(side: Side, y: Tensor | None) -> Tensor:
    """The sums of ``y`` at every pivot, if given, and in the last column the total of the pivot."""
    return _run("pack", side, y)


def unpack(side: Side, table: Tensor) -> Tensor:
    """What every token reads from a table with one row per pivot."""
    out = side.x.new_empty(*side.x.shape[:-1], table.shape[-1])
    _run("unpack", side, table=table, out=out)
    return out


def gradient(side: Side, y: Tensor | None, table: Tensor | None, d_use: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of ⟨σ T, y⟩ + ⟨total of σ, d_use⟩ along tokens, and along pivots with the bias as last column."""
    out = side.x.new_empty(side.x.shape)
    return out, _run("gradient", side, y, table=table, d_use=d_use, out=out)


def _run(
    task: str,
    side: Side,
    y: Tensor | None = None,
    *,
    table: Tensor | None = None,
    d_use: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    x, pivots, bias, unpadded = side
    assert pivots is not None
    (outer, heads, n, d), r = x.shape, pivots.shape[-2]
    c = next((t.shape[-1] for t in (y, table) if t is not None), 0)
    sizes = {"R": _padded(r), "D": _padded(d), "C": _padded(c)}
    # Tiles are float32 in fast memory, and products of float32 without tensor cores hold more of them.
    block = (64 if max(sizes.values()) <= 64 else 32) // (2 if x.dtype == torch.float32 else 1)
    blocks = triton.cdiv(n, block)
    blocks = max(1, triton.cdiv(blocks, max(1, _PROGRAMS // (outer * heads))))
    parts = max(1, triton.cdiv(n, block * blocks))
    wide = (d if task == "gradient" else c) + 1
    sums = x if task == "unpack" else x.new_empty(parts, outer, heads, r, wide, dtype=torch.float32)
    _launch(
        _pass, (parts, outer * heads), x, *x.stride(), pivots, *pivots.stride(), bias, *bias.stride(),
        *((x, 0, 0, 0) if unpadded is None else (unpadded, *unpadded.stride())),
        *((x, 0, 0, 0, 0) if y is None else (y, *y.stride())),
        *(x if t is None else t.contiguous() for t in (table, d_use, out)), sums, heads, blocks, n, r, d, c,
        **sizes, BLOCK=block, HAS_PADDING=unpadded is not None, HAS_Y=y is not None, TASK=task,
        PRECISION="ieee" if x.dtype == torch.float32 else "tf32",
    )  # fmt: skip
    return sums if task == "unpack" else sums[0] if parts == 1 else sums.sum(0)


def mix(use_q: Tensor, use_k: Tensor, totals: Tensor) -> Tensor:
    """What a query reads at each pivot; `mixing.mix` in one launch."""
    out = totals.new_empty(totals.shape)
    _run_mix(use_q, use_k, totals, totals, out, out, out, gradient=False)
    return out


def mix_gradient(use_q: Tensor, use_k: Tensor, totals: Tensor, d_table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`mixing.mix_gradient` in one launch."""
    d_use_q, d_use_k, d_totals = (t.new_empty(t.shape) for t in (use_q, use_k, totals))
    _run_mix(use_q, use_k, totals, d_table.contiguous(), d_totals, d_use_q, d_use_k, gradient=True)
    return d_use_q, d_use_k, d_totals


def _run_mix(
    use_q: Tensor, use_k: Tensor, totals: Tensor, d_table: Tensor, out: Tensor, *uses: Tensor, gradient: bool
) -> None:
    r, c = totals.shape[-2:]
    use_q, use_k, totals = use_q.flatten(0, 1), use_k.flatten(0, 1), totals.flatten(0, 1)
    _launch(
        _mix, (totals.shape[0],), use_q, *use_q.stride(), use_k, *use_k.stride(), totals, *totals.stride(),
        d_table, out, *uses, r, c,
        R=_padded(r), C=_padded(c), TINY=TINY, GRADIENT=gradient,
    )  # fmt: skip


def _launch(kernel: Any, grid: tuple[int, ...], x: Tensor, *arguments: Any, **constants: Any) -> None:
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(x):
        kernel[grid](x, *arguments, **constants)


def _padded(size: int) -> int:
    """Products of matrices want powers of two from 16 up."""
    return max(16, triton.next_power_of_2(size))
