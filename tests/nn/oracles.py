"""Attention matrices by definition, in float64, with every matrix written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.nn.couplers import Heads
from monge.nn.functional.pivots import Pivoting, entropic_factors, exact_factors


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT / math.sqrt(q.shape[-1])


def sinkhorn_matrix(s: Tensor, n_half: int, end_on_rows: bool = True) -> Tensor:
    """A of half-steps that end on a side, in the naive scaling form; columns of A end at n/m."""
    n, m = s.shape[-2:]
    plan = s.exp()
    for left in range(n_half, 0, -1):
        if (left % 2 == 1) == end_on_rows:
            plan = plan / plan.sum(-1, keepdim=True) / n
        else:
            plan = plan / plan.sum(-2, keepdim=True) / m
    return plan * n


def pivot_plan(share_q: Tensor, share_k: Tensor) -> Tensor:
    """P1 diag(1/p1) W diag(1/p2) P2 with W written out, for assignments (n, r) and (m, r) of one problem."""
    first, second = share_q / share_q.shape[0], (share_k / share_k.shape[0]).T
    p1, p2 = first.sum(0), second.sum(1)
    kept = torch.minimum(p1, p2)
    e, f = p1 - kept, p2 - kept
    w = torch.diag(kept)
    if e.sum() > 0:
        w = w + torch.outer(e, f) / e.sum()
    return first @ torch.diag(1 / p1) @ w @ torch.diag(1 / p2) @ second


def entropic_plan(s: Tensor, a: Tensor, b: Tensor, rounds: int = 2000) -> Tensor:
    """The converged plan of scores s with marginals a and b."""
    kernel, v = s.exp(), torch.ones_like(b)
    for _ in range(rounds):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return u[:, None] * kernel * v


def rank_plan(a: Tensor, b: Tensor) -> Tensor:
    """The plan between ranks: how much of the k-th share of mass and the r-th share overlap."""
    after_a, after_b = a.cumsum(-1), b.cumsum(-1)
    top = torch.minimum(after_a[:, None], after_b)
    bottom = torch.maximum((after_a - a)[:, None], after_b - b)
    return (top - bottom).clamp_min(0.0)


def pivot_factors(q: Tensor, k: Tensor, pivots: Tensor, *, iterations: int = 0, **options) -> tuple[Tensor, Tensor]:
    """Q and R of the plan of `pivot_attention`."""
    return exact_factors(Heads(q, k).checked(), Pivoting(pivots, **options), iterations)


def entropic_pivot_factors(
    q: Tensor, k: Tensor, pivots: Tensor, *, n_half: int = 5, **options
) -> tuple[Tensor, Tensor]:
    """The factors of the attention matrix of `entropic_pivot_attention`."""
    return entropic_factors(Heads(q, k).checked(), Pivoting(pivots, **options), n_half)
