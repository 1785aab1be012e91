"""A task that a tiny model learns in a second, with padding, pairs, or neither."""

from __future__ import annotations

import torch

from monge.data import Split, Task
from monge.sequences import ModelConfig, ScheduleConfig

MODEL = ModelConfig(dim=8, heads=2, layers=1, hidden=16, head=8)
SCHEDULE = ScheduleConfig(steps=12, batch=8, lr=1e-2, warmup=2, evaluate_every=4)


def toy(*, pad: bool = True, pair: bool = False, count: int = 50, seed: int = 0) -> Task:
    """Is there a 1 in the sequence; ragged if padded."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 2, 9) if pair else (count, 9)
    tokens = torch.randint(2, 6, shape, generator=generator)
    labels = torch.randint(2, (count,), generator=generator)
    tokens[..., 0] = torch.where(labels.view(-1, *[1] * (tokens.ndim - 2)) == 1, 1, 2)
    if pad:
        length = torch.randint(1, 10, shape[:-1], generator=generator)
        tokens[torch.arange(9) >= length[..., None]] = 0
    tokens = tokens.to(torch.uint8)
    parts = [Split(tokens[k], labels[k]) for k in torch.arange(count).split([count - 20, 10, 10])]
    return Task("toy", *parts, vocabulary=6, classes=2, pad=0 if pad else None)
