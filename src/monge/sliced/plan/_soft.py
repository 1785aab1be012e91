"""Soft monotone plans between scores, and the loop that hardens them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from monge._checks import check_number
from monge.kernels import monotone

from .._clouds import together
from .sorting import lap_sort

__all__ = ["anneal", "minibatch", "soft_plans"]


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


def anneal(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[float], Tensor],
    *,
    steps: int,
    learning_rate: float,
    scale: float,
    final_scale: float,
    watch: Callable[[int], None] | None = None,
) -> Tensor:
    """Minimise ``loss(width)`` by AdamW while the width falls geometrically; the loss at every step."""
    check_number("steps", steps, low=1)
    check_number("learning_rate", learning_rate, low=0.0, strict=True)
    check_number("scale", scale, low=0.0, strict=True)
    check_number("final_scale", final_scale, low=0.0, strict=True)
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    for step in range(steps):
        found = loss(scale * (final_scale / scale) ** (step / max(1, steps - 1)))
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        schedule.step()
        losses.append(found.detach())
        if watch is not None:
            watch(step)
    return torch.stack(losses)


def minibatch(count: int, size: int | None, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Which points a step sees; all of them if there is no size."""
    if size is None or size >= count:
        return torch.arange(count, device=device)
    return torch.randperm(count, generator=generator)[:size].to(device)


def _ranks(n: int, m: int, like: Tensor) -> Tensor:
    """The plan between ranks of equal weights."""
    i, j, w = monotone(like.new_full((n,), 1 / n), like.new_full((m,), 1 / m))
    return like.new_zeros(n, m).index_put((i, j), w, accumulate=True)


def _place(scores: Tensor) -> Tensor:
    """The rank of every point, largest first."""
    return scores.detach().argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
