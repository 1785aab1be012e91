"""Soft monotone plans between scores, and the loop that hardens them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from monge._checks import check_number
from monge.kernels.monotone import monotone
from monge.train import Data, MachineConfig, Objective, Schedule, Trainer, World

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
    model: nn.Module,
    loss: Callable[[float], Tensor],
    *,
    steps: int,
    learning_rate: float,
    scales: tuple[float, float],
    generator: torch.Generator | None,
) -> Trainer:
    """A loop that minimises ``loss(width)`` by AdamW while the width falls geometrically from one scale to the other.

    What the loss draws it draws from torch's default generator, which the loop seeds from ``generator``.
    """
    scale, final_scale = scales
    check_number("learning_rate", learning_rate, low=0.0, strict=True)
    check_number("scale", scale, low=0.0, strict=True)
    check_number("final_scale", final_scale, low=0.0, strict=True)
    plain = {"eps": 1e-8, "weight_decay": 1e-2, "clip": math.inf, "evaluate_every": steps}
    return Trainer(
        model,
        Objective(lambda _, width: loss(width)),
        Data(lambda step: scale * (final_scale / scale) ** (step / max(1, steps - 1))),
        Schedule(steps, learning_rate, warmup=0, decay="cosine", **plain),
        MachineConfig(next((str(weight.device) for weight in model.parameters()), "cpu"), "float32"),
        seed=int(torch.randint(2**31, (), generator=generator)),
        name=type(model).__name__,
        world=World(),
    )


def minibatch(count: int, size: int | None, device: torch.device) -> Tensor:
    """Which points a step sees; all of them if there is no size."""
    if size is None or size >= count:
        return torch.arange(count, device=device)
    return torch.randperm(count)[:size].to(device)


def _ranks(n: int, m: int, like: Tensor) -> Tensor:
    """The plan between ranks of equal weights."""
    i, j, w = monotone(like.new_full((n,), 1 / n), like.new_full((m,), 1 / m))
    return like.new_zeros(n, m).index_put((i, j), w, accumulate=True)


def _place(scores: Tensor) -> Tensor:
    """The rank of every point, largest first."""
    return scores.detach().argsort(descending=True, stable=True).argsort()
