"""What learned slicers share: scores that couple clouds, and the loop that trains them while soft plans harden."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monge._checks import check_number, check_single
from monge.coupling import Coupling
from monge.errors import InputError
from monge.train import Data, MachineConfig, Objective, Schedule, Trainer, World

from .._aligned_clouds import aligned
from .lift import monotone_plan

Pairs = Sequence[tuple[Tensor, Tensor]]
Rows = slice | Tensor


class LearnedSlicer(nn.Module, ABC):
    """A module that gives the points of two clouds scores, whose sorted orders couple them."""

    _one_space: ClassVar[bool] = True
    fit_pairs: Callable[..., Tensor]

    @abstractmethod
    def _scores(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of both clouds, (*b, n) and (*b, m)."""

    def couple(
        self,
        x: Float[Tensor, "*b n d"],
        y: Float[Tensor, "*b m e"],
        a: Float[Tensor, "*b n"] | None = None,
        b: Float[Tensor, "*b m"] | None = None,
    ) -> Coupling:
        """The plan between two clouds, of any sizes and weights."""
        x, y, a, b = aligned(x, y, a, b, one_space=self._one_space)
        with torch.no_grad():
            u, v = self._scores(x, y)
        return monotone_plan(u, v, a, b)

    def fit(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "m e"], *, steps: int = 300, **options: Any
    ) -> Float[Tensor, " steps"]:
        """Train on one pair; call it again with the next pair to continue from there. Options as in `fit_pairs`."""
        return self.fit_pairs([(x, y)], steps=steps, **options)

    def _check(self, pairs: Pairs) -> None:
        """There must be pairs of single clouds to train on, and something to train."""
        parameters = list(self.parameters())
        if not pairs or not parameters:
            raise InputError(
                f"fit needs a pair of clouds and parameters to train, but has {len(pairs)} pairs and {len(parameters)} "
                "parameters: give at least one pair to a slicer with parameters."
            )
        for x, y in pairs:
            check_single(x=x, y=y)
            aligned(x, y, one_space=self._one_space)


@dataclass(frozen=True)
class Annealing:
    """Steps of AdamW while the width of soft plans falls geometrically.

    Args:
        steps: How many.
        learning_rate: Its peak; it falls along a cosine.
        scale: The first width.
        final_scale: The last width.
        generator: Source of the seed of every training.
    """

    steps: int
    learning_rate: float
    scale: float
    final_scale: float
    generator: torch.Generator | None

    def __post_init__(self) -> None:
        check_number("steps", self.steps, low=1)
        for name in ("learning_rate", "scale", "final_scale"):
            check_number(name, getattr(self, name), low=0.0, strict=True)

    def train(
        self, slicer: nn.Module, loss: Callable[[float], Tensor], look: Callable[[], None] | None = None
    ) -> Float[Tensor, " steps"]:
        """Minimise ``loss(width)``, and tell it at every step; ``look`` is called ten times on the way.

        What the loss draws it draws from torch's default generator, which the loop seeds.
        """
        plain = {"eps": 1e-8, "weight_decay": 1e-2, "clip": math.inf, "evaluate_every": self.steps}
        trainer = Trainer(
            slicer,
            Objective(lambda _, width: loss(width)),
            Data(self._width),
            Schedule(self.steps, self.learning_rate, warmup=0, decay="cosine", **plain),
            MachineConfig(str(next(slicer.parameters()).device), "float32"),
            seed=int(torch.randint(2**31, (), generator=self.generator)),
            name=type(slicer).__name__,
            world=World(),
        )
        losses = []
        for step in trainer:
            losses.append(step.loss)
            if look is not None and step.number % max(1, self.steps // 10) == 0:
                look()
        return torch.stack(losses)

    def _width(self, step: int) -> float:
        return self.scale * (self.final_scale / self.scale) ** (step / max(1, self.steps - 1))


def some_pair(pairs: Pairs, size: int | None) -> tuple[int, Rows, Rows]:
    """Which pair a step sees, and which points of both clouds; all of them if there is no size."""
    k = int(torch.randint(len(pairs), ())) if len(pairs) > 1 else 0
    x, y = pairs[k]
    return k, _some(x, size), _some(y, size)


def _some(points: Tensor, size: int | None) -> Rows:
    if size is None or size >= len(points):
        return slice(None)
    return torch.randperm(len(points))[:size].to(points.device)
