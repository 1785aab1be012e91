"""An encoder of torch removes noise from sets of 1024 points, trained until it does, with two kinds of attention."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import monge

PEER = "torch"
RUNS = 3


def noisy(sets: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points around three random centres, and where they were before the noise."""
    centres = 4 * torch.rand(sets, 3, 2, generator=generator) - 2
    chosen = torch.randint(3, (sets, 1024), generator=generator)
    clean = centres.gather(1, chosen[..., None].expand(-1, -1, 2))
    return clean + 0.5 * torch.randn(sets, 1024, 2, generator=generator), clean


def data() -> dict[str, Any]:
    """Sets that training does not see, and the error to reach; doing nothing has an error of 0.5."""
    return {"unseen": noisy(16, torch.Generator().manual_seed(5)), "enough": 0.36}


def ours(data: dict[str, Any]) -> tuple[float, int]:
    """Attention by pivots."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    layer.self_attn = monge.nn.MultiheadAttention(32, 4, batch_first=True, coupler="pivots")
    return trained(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), data)


def theirs(data: dict[str, Any]) -> tuple[float, int]:
    """Softmax attention."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    return trained(torch.nn.TransformerEncoder(layer, 2), data)


def trained(encoder: torch.nn.Module, data: dict[str, Any]) -> tuple[float, int]:
    """Trains until the error on unseen sets is low enough, which is looked at every ten steps; the error, the steps."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), encoder, torch.nn.Linear(32, 2))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    error = math.inf
    for step in range(1, 301):
        points, clean = noisy(4, generator)
        loss = (points + model(points) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0:
            with torch.no_grad():
                points, clean = data["unseen"]
                error = float((points + model(points) - clean).square().mean().sqrt())
            if error <= data["enough"]:
                break
    return error, step


def accuracy(data: dict[str, Any], reached: tuple[float, int]) -> dict[str, float]:
    """The error that was reached, and the steps that it took."""
    error, steps = reached
    return {"error": error, "steps": steps}
