"""Pairs for a training loop against torchcfm: a step of a small network is taken on every batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

import monge

PEER = "torchcfm"
RUNS = 3
BATCHES, SIZE, DIMENSION = 20, 512, 32


def data() -> dict[str, Any]:
    """Twenty batches of noise and of clusters."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(8, DIMENSION, generator=generator)
    batches = []
    for _ in range(BATCHES):
        cluster = torch.randint(8, (SIZE,), generator=generator)
        noise, spread = torch.randn(2, SIZE, DIMENSION, generator=generator)
        batches.append((noise, centres[cluster] + 0.3 * spread))
    return {"batches": batches}


def trained(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """One step of flow matching on every batch of pairs."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(DIMENSION + 1, 256), torch.nn.SiLU(), torch.nn.Linear(256, DIMENSION)]
    model = torch.nn.Sequential(*layers)
    optimiser, seen = torch.optim.Adam(model.parameters()), []
    for noise, points in pairs:
        time = torch.rand(len(noise), 1)
        place = torch.cat([(1 - time) * noise + time * points, time], 1)
        loss = (model(place) - (points - noise)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append((noise, points))
    return seen


def ours(data: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Another thread finds the next plans during a step."""
    generator = torch.Generator().manual_seed(0)

    def pairs() -> Iterable[tuple[Tensor, Tensor]]:
        for (noise, points), P in monge.couple_ahead(data["batches"]):
            i, j = P.pair(generator=generator)
            yield noise[i], points[j]

    return trained(pairs())


def theirs(data: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Between two steps, with points drawn from the plan with replacement."""
    from torchcfm.optimal_transport import OTPlanSampler

    sampler = OTPlanSampler(method="exact")
    return trained(sampler.sample_plan(noise, points) for noise, points in data["batches"])


def accuracy(data: dict[str, Any], seen: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """The mean squared distance of a pair, and the share of the data that a batch uses."""
    cost = torch.stack([(points - noise).square().sum(1).mean() for noise, points in seen]).mean()
    used = [len(points.unique(dim=0)) / len(points) for _, points in seen]
    return {"squared distance": float(cost), "data used": sum(used) / len(used)}
