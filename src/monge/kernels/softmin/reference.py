"""The definition of `softmin`, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from monge.kernels.pairs import Pairs
from monge.kernels.scores import Scores, compute_dtype, epsilon_tensor
from monge.kernels.stream import stream

__all__ = ["log_sum_exp", "softmin_reference"]


def softmin_reference(pairs: Pairs, bias: Tensor, epsilon: float | Tensor) -> Tensor:
    """-eps log sum_j exp(bias_j - C_ij / eps), by blocks of rows."""
    dtype = compute_dtype(pairs, bias)
    eps = epsilon_tensor(epsilon, bias, dtype)
    scores = Scores.of(pairs, bias, eps, dtype)

    def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
        total, empty = log_sum_exp(scores.block(rows, shared))
        return ((-shared[-1] * total).masked_fill(empty, math.inf),)

    return stream(body, scores.rows, scores.shared, step=scores.step)[0][..., 0]


def log_sum_exp(score: Tensor) -> tuple[Tensor, Tensor]:
    """The row sums log sum_j exp(score_ij), kept as a column, and which rows are empty: those hold zero."""
    if score.shape[-1] == 0:
        total = score.new_zeros((*score.shape[:-1], 1))
        return total, torch.ones_like(total, dtype=torch.bool)
    top = score.detach().amax(-1, keepdim=True)
    top = top.masked_fill(top == -math.inf, 0)
    total = torch.exp(score - top).sum(-1, keepdim=True)
    empty = total == 0
    return top + total.masked_fill(empty, 1).log(), empty
