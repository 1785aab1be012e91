"""The definition of `sinkhorn`, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge.kernels.pairs import Pairs
from monge.kernels.scores import Scores, compute_dtype, epsilon_tensor
from monge.kernels.softmin.reference import softmin_reference
from monge.kernels.stream import stream

__all__ = ["sinkhorn_reference", "trusted_sum"]


def trusted_sum(dtype: torch.dtype, count: int) -> float:
    """Column sums above this hold their digits although terms below the smallest normal number were lost."""
    limits = torch.finfo(dtype)
    return limits.tiny * max(count, 1) / limits.eps


def sinkhorn_reference(
    pairs: Pairs, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Both half-steps in one pass: each row, normalised, is added to the column sums while it is at hand."""
    dtype = compute_dtype(pairs, g, log_a, log_b)
    eps = epsilon_tensor(epsilon, g, dtype)
    g, log_a, log_b = g.to(dtype), log_a.to(dtype), log_b.to(dtype)
    scores = Scores.of(pairs, g / eps[..., 0] + log_b, eps, dtype)

    def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
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
    lost = ~(columns > trusted_sum(dtype, pairs.shape[0])) | (log_b == -math.inf) | (g == -math.inf)
    if bool(lost.any()):
        exact = softmin_reference(pairs.transpose(), row_bias(f, log_a, eps), epsilon)
        g_new = torch.where(lost, exact, g_new)
    return f, g_new, error


def row_bias(f: Tensor, log_a: Tensor, epsilon: Tensor) -> Tensor:
    """F / eps + log a, with rows that reach nothing treated as absent."""
    return (f / epsilon[..., 0] + log_a).masked_fill((f == math.inf) | (log_a == -math.inf), -math.inf)
