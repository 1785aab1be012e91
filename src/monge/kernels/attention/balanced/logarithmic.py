r"""Half-steps on a tile of scores in the log domain, with their derivative written out: slower, for any range.

With f and g the potentials, a step on the columns is :math:`g = \log b - \mathrm{lse}_i(S + f)`. Its derivative along S
is minus the softmax over the rows, so backward needs one such matrix a step, made anew from the kept potentials.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import log_sum_exp, quotient, row_shares, start

__all__ = ["backward", "forward"]


def forward(scores: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is read, and the potentials of rows before each step on the columns and of columns after it."""
    log_a, log_b = a.log(), b.log()
    steps = n_half // 2
    rows, columns = (w.new_zeros(len(w), steps, w.shape[-1]) for w in (a, b))
    g = start(log_b)
    for step in range(steps):
        f = start(log_a) if step == 0 and n_half % 2 == 0 else log_a - log_sum_exp(scores + g[..., None, :], -1)
        g = log_b - log_sum_exp(scores + f[..., None], -2)
        rows[:, step], columns[:, step] = f, g
    return row_shares(scores, g, log_a) @ v, rows, columns


def backward(
    scores: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int,
    rows: Tensor, columns: Tensor, out: Tensor, d_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Derivatives by the scores, the values and both weights."""
    log_a, log_b = a.log(), b.log()
    steps = n_half // 2
    d_log_a, d_log_b = torch.zeros_like(a), torch.zeros_like(b)
    shares = row_shares(scores, columns[:, -1] if steps else start(log_b), log_a)
    d_v = (d_out.mT @ shares).mT
    d_scores = shares * (d_out @ v.mT - (d_out * out).sum(-1, keepdim=True))
    d_g = d_scores.sum(-2)
    for step in range(steps - 1, -1, -1):
        d_log_b += d_g
        moved = _softmax(scores + rows[:, step, :, None], -2) * d_g[..., None, :]
        d_scores -= moved
        if step == 0 and n_half % 2 == 0:
            break
        d_f = -moved.sum(-1)
        d_log_a += d_f
        g = columns[:, step - 1] if step else start(log_b)
        moved = _softmax(scores + g[..., None, :], -1) * d_f[..., None]
        d_scores -= moved
        d_g = -moved.sum(-2)
    return d_scores, d_v, quotient(d_log_a, a), quotient(d_log_b, b)


def _softmax(scores: Tensor, dim: int) -> Tensor:
    """Zero where a whole line is absent."""
    return torch.exp(scores - log_sum_exp(scores, dim).unsqueeze(dim))
