"""The loop that trains slicers on pairs of clouds, while the softness of their plans falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from monge._checks import check_number, check_single
from monge.errors import InputError
from monge.train import Data, MachineConfig, Objective, Schedule, Trainer, World

from .._aligned_clouds import aligned

__all__ = ["Pairs", "fit", "some_pair"]

Pairs = Sequence[tuple[Tensor, Tensor]]
Rows = slice | Tensor


def fit(
    slicer: nn.Module,
    pairs: Pairs,
    loss: Callable[[float], Tensor],
    *,
    steps: int,
    learning_rate: float,
    scale: float,
    final_scale: float,
    generator: torch.Generator | None,
    one_space: bool = True,
    restarts: int = 1,
    restart: Callable[[int], None] | None = None,
    watch: Callable[[], bool] | None = None,
) -> Tensor:
    """Minimise ``loss(width)`` by AdamW while the width falls geometrically, once for every start.

    Args:
        slicer: What is trained.
        pairs: The clouds behind the loss, which are checked.
        loss: Of a step, at a width; what it draws it draws from torch's default generator, which the loop seeds.
        steps: Of every start.
        learning_rate: Its peak; it falls along a cosine.
        scale: The first width.
        final_scale: The last width.
        generator: Source of the seed of every start.
        one_space: Whether the clouds of a pair live in one space.
        restarts: How many starts.
        restart: Makes the slicer fresh before every start but the first.
        watch: Asked before every start and ten times in it whether the slicer is the best so far.

    Returns:
        The loss at every step, of the last start that ``watch`` called the best.
    """
    parameters = list(slicer.parameters())
    if not pairs or not parameters:
        raise InputError(
            f"fit needs a pair of clouds and something to train, but got {len(pairs)} pairs and {len(parameters)} "
            "parameters: give at least one pair, to a slicer with parameters."
        )
    for x, y in pairs:
        check_single(x=x, y=y)
        aligned(x, y, one_space=one_space)
    for name, number in (("steps", steps), ("restarts", restarts)):
        check_number(name, number, low=1)
    for name, number in (("learning_rate", learning_rate), ("scale", scale), ("final_scale", final_scale)):
        check_number(name, number, low=0.0, strict=True)
    every, history = max(1, steps // 10), torch.empty(0)
    for start in range(restarts):
        if start and restart is not None:
            restart(start)
        best = watch is not None and watch()
        losses = []
        widths = Data(lambda step: scale * (final_scale / scale) ** (step / max(1, steps - 1)))
        for step in _trainer(slicer, loss, widths, steps, learning_rate, generator):
            losses.append(step.loss)
            if watch is not None and step.number % every == 0:
                best = watch() or best
        if best or not start:
            history = torch.stack(losses)
    return history


def _trainer(
    slicer: nn.Module,
    loss: Callable[[float], Tensor],
    widths: Data,
    steps: int,
    learning_rate: float,
    generator: torch.Generator | None,
) -> Trainer:
    """The loop of one start: nothing is kept, and it is over after its steps."""
    plain = {"eps": 1e-8, "weight_decay": 1e-2, "clip": math.inf, "evaluate_every": steps}
    return Trainer(
        slicer,
        Objective(lambda _, width: loss(width)),
        widths,
        Schedule(steps, learning_rate, warmup=0, decay="cosine", **plain),
        MachineConfig(str(next(slicer.parameters()).device), "float32"),
        seed=int(torch.randint(2**31, (), generator=generator)),
        name=type(slicer).__name__,
        world=World(),
    )


def some_pair(pairs: Pairs, size: int | None) -> tuple[int, Rows, Rows]:
    """Which pair a step sees, and which points of both clouds; all of them if there is no size."""
    k = int(torch.randint(len(pairs), ())) if len(pairs) > 1 else 0
    x, y = pairs[k]
    return k, _some(x, size), _some(y, size)


def _some(points: Tensor, size: int | None) -> Rows:
    if size is None or size >= len(points):
        return slice(None)
    return torch.randperm(len(points))[:size].to(points.device)
