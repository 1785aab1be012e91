"""The definitions of the streamed kernels, in plain torch, by blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, log_sum_exp, rows_per_block, working_dtype

from .blocks import stream
from .pairs import Pairs, Points
from .scores import Scores, epsilon_tensor

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
    dtype = working_dtype(pairs, bias)
    eps = epsilon_tensor(epsilon, bias, dtype)
    scores = Scores.of(pairs, bias, eps, dtype)

    def body(rows: Blocks, shared: Blocks) -> Blocks:
        total, empty = log_sum_exp(scores.block(rows, shared))
        return (((-shared[-1][..., 0] * total).masked_fill(empty, math.inf))[..., None],)

    return stream(body, scores.rows, scores.shared, step=scores.step)[0][..., 0]


def apply_reference(pairs: Pairs, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Tensor:
    """sum_j exp(row_i + col_j - C_ij / eps) v_jk, by blocks of rows; without row, normalised."""
    dtype = working_dtype(pairs, row, col, v)
    eps = epsilon_tensor(epsilon, col, dtype)
    scores = Scores.of(pairs, col, eps, dtype)
    shared = [*scores.shared, v.to(dtype)]

    if row is None:

        def body(rows: Blocks, shared: Blocks) -> Blocks:
            return (_softmax(scores.block(rows, shared)) @ shared[-1],)

        rows = scores.rows
    else:

        def body(rows: Blocks, shared: Blocks) -> Blocks:
            return (torch.exp(rows[-1] + scores.block(rows, shared)) @ shared[-1],)

        rows = [*scores.rows, row.to(dtype)[..., None]]
    return stream(body, rows, shared, step=scores.step)[0].to(torch.promote_types(pairs.dtype, v.dtype))


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
    eps = epsilon_tensor(epsilon, col, pairs.dtype)
    rows, shared, evaluate, _ = pairs.parts(pairs.dtype, eps)
    scores = Scores.of(pairs, col, eps, pairs.dtype)
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


def plan_reference(pairs: Pairs, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor) -> Tensor:
    """P_ij <l_i, r_j>, dense."""
    cost = pairs.block(slice(None))
    forbidden = cost == torch.inf
    score = row[..., :, None] + col[..., None, :] - cost.masked_fill(forbidden, 0) / epsilon[..., None, None]
    return torch.exp(score.masked_fill(forbidden, -torch.inf)) * (l @ r.mT)


def _trusted_sum(dtype: torch.dtype, count: int) -> float:
    """Column sums above this hold their digits although terms below the smallest normal number were lost."""
    limits = torch.finfo(dtype)
    return limits.tiny * max(count, 1) / limits.eps


def sinkhorn_reference(
    pairs: Pairs, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Both half-steps in one pass: each row, normalised, is added to the column sums while it is at hand."""
    dtype = working_dtype(pairs, g, log_a, log_b)
    eps = epsilon_tensor(epsilon, g, dtype)
    g, log_a, log_b = g.to(dtype), log_a.to(dtype), log_b.to(dtype)
    scores = Scores.of(pairs, g / eps[..., 0] + log_b, eps, dtype)

    def body(rows: Blocks, shared: Blocks) -> Blocks:
        score = scores.block(rows, shared)
        top = score.amax(-1, keepdim=True)
        top = top.masked_fill(top == -math.inf, 0)
        weight = torch.exp(score - top)
        total = weight.sum(-1, keepdim=True)
        scale = (rows[-1].exp() / total).masked_fill(total == 0, 0)
        f = -shared[-1] * (top + total.log())
        # Column sums in double: thousands of rows meet in one number.
        return f, (weight.mT @ scale).double()

    rows = [*scores.rows, log_a[..., None]]
    f, columns = stream(body, rows, scores.shared, step=scores.step, sums=1)
    f, columns, b = f[..., 0], columns[..., 0].to(dtype), log_b.exp()
    error = (columns - b).abs().sum(-1)
    g_new = g - eps[..., 0] * (columns.log() - log_b)
    lost = ~(columns > _trusted_sum(dtype, pairs.shape[0])) | (log_b == -math.inf) | (g == -math.inf)
    if bool(lost.any()):
        exact = softmin_reference(pairs.transpose(), _row_bias(f, log_a, eps), epsilon)
        g_new = torch.where(lost, exact, g_new)
    return f, g_new, error


def _row_bias(f: Tensor, log_a: Tensor, epsilon: Tensor) -> Tensor:
    """F / eps + log a, with rows that reach nothing treated as absent."""
    return (f / epsilon[..., 0] + log_a).masked_fill((f == math.inf) | (log_a == -math.inf), -math.inf)


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
    values, index = stream(body, rows, [*shared, potential], step=step)
    return values, index


def extract_reference(
    pairs: Pairs, row: Tensor, col: Tensor, epsilon: float | Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries exp(row_i + col_j - C_ij / eps) above the threshold, by blocks of rows."""
    dtype = working_dtype(pairs, row, col)
    scores = Scores.of(pairs, col, epsilon_tensor(epsilon, col, dtype), dtype)
    n = pairs.shape[0]
    shift, limit = row.to(dtype)[:, None], threshold.to(dtype).expand(n)[:, None]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, max(n, 1), scores.step):
        part = slice(start, start + scores.step)
        weight = torch.exp(shift[part] + scores.block([t[part] for t in scores.rows], scores.shared))
        i, j = (weight > limit[part]).nonzero(as_tuple=True)
        found.append((i + start, j, weight[i, j]))
    i, j, w = (torch.cat(parts) for parts in zip(*found, strict=True))
    return i, j, w
