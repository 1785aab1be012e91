"""Alternating half-steps on a score matrix, in the log domain."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge import _arrays

__all__ = ["balanced_apply_reference", "half_steps", "log_sum_exp", "quotient", "row_shares", "start"]


def half_steps(
    scores: Float[Tensor, "*b n m"],
    log_a: Float[Tensor, "*#b n"],
    log_b: Float[Tensor, "*#b m"],
    n_half: int,
    v: Float[Tensor, "*#b m"] | None = None,
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
    r"""``n_half`` alternating half-steps of which the last one is on the rows, differentiable step by step.

    The plan :math:`P_{ij} = \exp(S_{ij} + u_i + v_j)` tends to the one that maximises
    :math:`\langle P, S\rangle + H(P)` with marginals a and b. Zero weight is absence: the potential is
    :math:`-\infty` there and nothing else changes.

    Args:
        scores: S over epsilon; -inf forbids a pair.
        log_a: log weights of the rows, -inf for absence.
        log_b: log weights of the columns.
        n_half: at least 1; 1 is the softmax of every row.
        v: where the potential of the columns starts; zero if None.

    Returns:
        u and v; the row marginal is exact.
    """
    if v is None:
        v = start(log_b)
    u = start(log_a)
    for left in range(n_half, 0, -1):
        if left % 2:
            u = log_a - log_sum_exp(scores + v[..., None, :], -1)
        else:
            v = log_b - log_sum_exp(scores + u[..., None], -2)
    return u, v


def row_shares(
    scores: Float[Tensor, "*b n m"], v: Float[Tensor, "*#b m"], log_a: Float[Tensor, "*#b n"]
) -> Float[Tensor, "*b n m"]:
    """softmax_j(S_ij + v_j), the plan with every row divided by its mass; rows without mass are zero."""
    scored = scores + v[..., None, :]
    dead = (scored == -math.inf).all(-1, keepdim=True) | (log_a == -math.inf)[..., None]
    return torch.softmax(scored.masked_fill(dead, 0.0), -1).masked_fill(dead, 0.0)


def balanced_apply_reference(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    a: Float[Tensor, "*#b n"],
    b: Float[Tensor, "*#b m"],
    n_half: int,
) -> Float[Tensor, "*b n c"]:
    """The definition of `balanced_apply`."""
    scores, log_a = q @ k.mT, a.log()
    return row_shares(scores, half_steps(scores, log_a, b.log(), n_half)[1], log_a) @ v


def log_sum_exp(scores: Tensor, dim: int) -> Tensor:
    """Log-sum-exp with 0 for an empty sum, whose gradient is zero rather than NaN."""
    return _arrays.log_sum_exp(scores, dim)[0]


def start(log_weight: Tensor) -> Tensor:
    """Where a potential starts: at zero on what is present."""
    return torch.zeros_like(log_weight).masked_fill(log_weight == -math.inf, -math.inf)


def quotient(x: Tensor, total: Tensor) -> Tensor:
    """Zero where there is nothing to divide by."""
    return torch.where(total > 0, x / total, 0.0)
