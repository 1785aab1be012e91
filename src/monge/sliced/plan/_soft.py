"""Soft monotone plans between scores, and the loop that hardens them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from monge._checks import check_number
from monge.kernels.monotone import monotone
from monge.train import Data, MachineConfig, Objective, Schedule, Trainer, World

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
    return scores.detach().argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
