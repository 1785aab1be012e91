"""The definition of `extract`, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from monge.kernels.pairs import Pairs
from monge.kernels.scores import Scores, compute_dtype, epsilon_tensor

__all__ = ["extract_reference"]


def extract_reference(
    pairs: Pairs, row: Tensor, col: Tensor, epsilon: float | Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries exp(row_i + col_j - C_ij / eps) above the threshold, by blocks of rows."""
    dtype = compute_dtype(pairs, row, col)
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
