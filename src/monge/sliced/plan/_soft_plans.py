"""Soft monotone plans between scores."""

from __future__ import annotations

import torch
from torch import Tensor

from monge.kernels.line import monotone

from .._aligned_clouds import together
from .sorting import lap_sort

__all__ = ["soft_plans"]


def soft_plans(u: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Two plans (*b, n, m) with equal weights: one side sorted softly, the other hard, and the other way round.

    ``scale`` is in standard deviations of the scores: only their order counts, and unit spread keeps the softness
    comparable while a network trains.
    """
    batch = together(u=u.shape[:-1], v=v.shape[:-1])
    u, v = u.expand(*batch, -1), v.expand(*batch, -1)
    n, m = u.shape[-1], v.shape[-1]
    pooled = torch.cat([u, v], -1)
    spread, middle = pooled.std(-1, keepdim=True).clamp_min(1e-12), pooled.mean(-1, keepdim=True)
    u, v = (u - middle) / spread, (v - middle) / spread
    soft_u, soft_v = lap_sort(u, scale).mT / n, lap_sort(v, scale) / m
    if n != m:
        ranks = _ranks(n, m, u)
        soft_u, soft_v = n * soft_u @ ranks, m * ranks @ soft_v
    return soft_u.gather(-1, _place(v)[..., None, :].expand(*batch, n, m)), soft_v.gather(
        -2, _place(u)[..., :, None].expand(*batch, n, m)
    )


def _ranks(n: int, m: int, like: Tensor) -> Tensor:
    """The plan between ranks of equal weights."""
    i, j, w = monotone(like.new_full((n,), 1 / n), like.new_full((m,), 1 / m))
    return like.new_zeros(n, m).index_put((i, j), w, accumulate=True)


def _place(scores: Tensor) -> Tensor:
    """The rank of every point, largest first."""
    return scores.detach().argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
