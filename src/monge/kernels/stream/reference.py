"""The definitions of the streamed kernels, in plain torch, by blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, log_sum_exp, pieces, rows_per_block, working_dtype
from monge._blocks import joined

from .blocks import stream
from .pairs import Pairs, Points
from .scores import Scores, epsilon_of

__all__ = [
    "apply_reference",
    "extract_reference",
    "moment_reference",
    "plan_reference",
    "sinkhorn_reference",
    "softmin_reference",
    "top_k_reference",
]

Blocks = Sequence[Tensor]


def softmin_reference(pairs: Pairs, bias: Tensor, epsilon: float | Tensor) -> Tensor:
    """-eps log sum_j exp(bias_j - C_ij / eps), by blocks of rows."""
    scores = Scores.of(pairs, bias, epsilon)

    def body(score: Tensor, rows: Blocks, shared: Blocks) -> Blocks:
        total, empty = log_sum_exp(score)
        return ((-shared[0][..., 0] * total).masked_fill(empty, math.inf)[..., None],)

    return scores.stream(body, shared=[scores.epsilon])[0][..., 0]


def apply_reference(pairs: Pairs, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Tensor:
    """sum_j exp(row_i + col_j - C_ij / eps) v_jk, by blocks of rows; without row, normalised."""

    def body(score: Tensor, rows: Blocks, shared: Blocks) -> Blocks:
        return ((torch.exp(rows[0] + score) if rows else _softmax(score)) @ shared[0],)

    rows = [] if row is None else [row[..., None]]
    return Scores.of(pairs, col, epsilon, row, v).stream(body, rows, [v])[0]


def _softmax(score: Tensor) -> Tensor:
    if score.shape[-1] == 0:
        return score
    top = score.detach().amax(-1, keepdim=True)
    weight = torch.exp(score - top.masked_fill(top == -torch.inf, 0))
    total = weight.sum(-1, keepdim=True)
    return weight / total.masked_fill(total == 0, 1)


def moment_reference(
    pairs: Points, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums over j of Q_ij dC_ij / dx_i and of Q_ij, in plain torch, by blocks of rows."""
    batch = broadcast_shapes(
        pairs.batch_shape, row.shape[:-1], col.shape[:-1], l.shape[:-2], r.shape[:-2], epsilon.shape
    )
    # One gradient for each problem: autograd would add up those of points that a batch shares.
    pairs = Points(pairs.x.expand(*batch, *pairs.x.shape[-2:]), pairs.y, pairs.kind, pairs.p, pairs.power)
    scores = Scores.of(pairs, col, epsilon)
    rows, shared, evaluate, _ = pairs.parts(pairs.dtype, scores.epsilon)
    count = len(shared)

    def body(rows: Blocks, shared: Blocks) -> Blocks:
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            x, row, l = rows
            *points, _, _, r = shared
            x = x if further and x.requires_grad else x.detach().requires_grad_()
            cost = evaluate([x], points[:count])
            weight = torch.exp(row + scores.block([x], shared[:-1])) * (l @ r.mT)
            (moved,) = torch.autograd.grad(cost, x, weight.to(cost.dtype), create_graph=True)
            return moved, weight.sum(-1, keepdim=True)

    moment, mass = stream(body, [*rows, row[..., None], l], [*scores.shared, r], step=scores.step)
    return moment.to(pairs.dtype), mass[..., 0]


def plan_reference(pairs: Pairs, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor) -> tuple[Tensor]:
    """P_ij <l_i, r_j>, dense."""
    cost = pairs.block(slice(None))
    forbidden = cost == torch.inf
    score = row[..., :, None] + col[..., None, :] - cost.masked_fill(forbidden, 0) / epsilon[..., None, None]
    return (torch.exp(score.masked_fill(forbidden, -torch.inf)) * (l @ r.mT),)


def _trusted_sum(dtype: torch.dtype, count: int) -> float:
    """Column sums above this hold their digits although terms below the smallest normal number were lost."""
    limits = torch.finfo(dtype)
    return limits.tiny * max(count, 1) / limits.eps


def sinkhorn_reference(
    pairs: Pairs, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Both half-steps in one pass: each row, normalised, is added to the column sums while it is at hand."""
    dtype = working_dtype(pairs, g, log_a, log_b)
    eps = epsilon_of(epsilon, pairs, dtype)[..., None]
    g, log_a, log_b = g.to(dtype), log_a.to(dtype), log_b.to(dtype)
    scores = Scores.of(pairs, g / eps + log_b, epsilon)

    def body(score: Tensor, rows: Blocks, shared: Blocks) -> Blocks:
        top = score.amax(-1, keepdim=True)
        top = top.masked_fill(top == -math.inf, 0)
        weight = torch.exp(score - top)
        total = weight.sum(-1, keepdim=True)
        scale = (rows[0].exp() / total).masked_fill(total == 0, 0)
        # Column sums in double: thousands of rows meet in one number.
        return -shared[0] * (top + total.log()), (weight.mT @ scale).double()

    f, columns = scores.stream(body, [log_a[..., None]], [scores.epsilon], sums=1)
    f, columns, b = f[..., 0], columns[..., 0].to(dtype), log_b.exp()
    error = (columns - b).abs().sum(-1)
    g_new = g - eps * (columns.log() - log_b)
    lost = ~(columns > _trusted_sum(dtype, pairs.shape[0])) | (log_b == -math.inf) | (g == -math.inf)
    if bool(lost.any()):
        # Rows that reach nothing are as good as absent.
        bias = (f / eps + log_a).masked_fill((f == math.inf) | (log_a == -math.inf), -math.inf)
        g_new = torch.where(lost, softmin_reference(pairs.transpose(), bias, epsilon), g_new)
    return f, g_new, error


def top_k_reference(pairs: Pairs, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of C_ij - g_j in every row and their columns, by blocks of rows."""
    dtype = working_dtype(pairs, g)
    rows, shared, evaluate, width = pairs.parts(dtype)
    potential = g.to(dtype)[..., None, :]
    batch = broadcast_shapes(pairs.batch_shape, g.shape[:-1])
    m = pairs.shape[1]

    def body(rows: Blocks, shared: Blocks) -> Blocks:
        reduced = evaluate(rows, shared[:-1]) - shared[-1]
        reduced = reduced.expand(*batch, *reduced.shape[-2:])
        if k == 1:
            # The first of equal minima, which argmin promises and min does not.
            index = reduced.argmin(-1, keepdim=True)
            values = reduced.gather(-1, index)
        else:
            index = reduced.topk(k, dim=-1, largest=False, sorted=False).indices.sort(-1).values
            values, order = reduced.gather(-1, index).sort(dim=-1, stable=True)
            index = index.gather(-1, order)
        return values, index.masked_fill(values == math.inf, -1)

    step = rows_per_block(math.prod(batch) * m * (width + 2) * dtype.itemsize)
    return stream(body, rows, [*shared, potential], step=step)  # type: ignore[return-value]


def extract_reference(
    pairs: Pairs, row: Tensor, col: Tensor, epsilon: float | Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries exp(row_i + col_j - C_ij / eps) above the threshold, by blocks of rows."""
    scores = Scores.of(pairs, col, epsilon, row)
    n = pairs.shape[0]
    shift, limit = row.to(scores.dtype)[:, None], threshold.to(scores.dtype).expand(n)[:, None]

    def body(part: slice) -> tuple[Tensor, Tensor, Tensor]:
        weight = torch.exp(shift[part] + scores.block([t[part] for t in scores.rows], scores.shared))
        i, j = (weight > limit[part]).nonzero(as_tuple=True)
        return i + part.start, j, weight[i, j]

    return joined(body, pieces(max(n, 1), scores.step), 0)
