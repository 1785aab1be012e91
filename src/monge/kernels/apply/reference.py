"""The definition of `apply`, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monge.kernels.pairs import Pairs
from monge.kernels.scores import Scores, compute_dtype, epsilon_tensor
from monge.kernels.stream import stream

__all__ = ["apply_reference"]


def apply_reference(pairs: Pairs, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Tensor:
    """sum_j exp(row_i + col_j - C_ij / eps) v_jk, by blocks of rows; without row, normalised."""
    dtype = compute_dtype(pairs, row, col, v)
    eps = epsilon_tensor(epsilon, col, dtype)
    scores = Scores.of(pairs, col, eps, dtype)
    shared = [*scores.shared, v.to(dtype)]

    if row is None:

        def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
            return (_softmax(scores.block(rows, shared)) @ shared[-1],)

        rows = scores.rows
    else:

        def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
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
