"""Soft monotone plans between scores, and the loop that hardens them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from monge._checks import check_number
from monge.kernels.monotone import monotone

from .sorting import lap_sort

__all__ = ["anneal", "minibatch", "soft_plans"]


def soft_plans(u: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Two plans (n, m) with equal weights: one side sorted softly, the other hard, and the other way round.

    ``scale`` is in standard deviations of the scores: only their order counts, and unit spread keeps the softness
    comparable while a network trains.
    """
    pooled = torch.cat([u, v])
    spread = pooled.std().clamp_min(1e-12)
    u, v = (u - pooled.mean()) / spread, (v - pooled.mean()) / spread
    soft_u, soft_v = lap_sort(u, scale).T / len(u), lap_sort(v, scale) / len(v)
    if len(u) != len(v):
        ranks = _ranks(len(u), len(v), u)
        soft_u, soft_v = len(u) * soft_u @ ranks, len(v) * ranks @ soft_v
    return soft_u[:, _place(v)], soft_v[_place(u)]


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
    return scores.detach().argsort(descending=True, stable=True).argsort()
