"""The schedule of training: every model of a comparison is trained with the same one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn
from typing_extensions import Self

from monge._checks import check_choice, check_number
from monge.errors import InputError

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """AdamW under a rate that warms up and decays, with evaluation at regular steps.

    Args:
        steps: steps of the weights.
        lr: the largest learning rate.
        warmup: number of steps in which the rate grows linearly to ``lr``.
        decay: how the rate falls afterwards: ``"cosine"``, ``"linear"`` or ``"constant"``.
        final: rate at the end, relative to ``lr``.
        betas: the two decay rates of AdamW's moving averages.
        eps: the number that AdamW adds to its denominators.
        weight_decay: strength of the pull of the weights towards zero, separate from the gradient.
        clip: largest norm of the gradient of all weights together; infinity does not limit it.
        evaluate_every: steps between evaluations on the validation part.
        patience: stop after this many evaluations in a row that were not better; None never stops early.
        accumulate: number of batches in a step: their gradients are averaged, in the memory of one batch.
        average: the share that a moving average of the weights keeps of itself at a step, such as 0.999; it is less in
            the first steps. The averaged weights are evaluated and reported. None reports the weights themselves.

    Raises:
        InputError: a number lies outside of its range.

    Example:
        >>> from monge.train import Schedule
        >>> schedule = Schedule(steps=100, lr=1.0, warmup=10, decay="linear")
        >>> [round(schedule.rate(step), 2) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.01]
    """

    steps: int = 5000
    lr: float = 1e-4
    warmup: int = 1000
    decay: str = "linear"
    final: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.0
    clip: float = 1.0
    evaluate_every: int = 500
    patience: int | None = None
    accumulate: int = 1
    average: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "evaluate_every"):
            check_number(name, getattr(self, name), low=1)
        if self.patience is not None:
            check_number("patience", self.patience, low=1)
        for name in ("warmup", "weight_decay"):
            check_number(name, getattr(self, name), low=0)
        for name in ("lr", "eps"):
            check_number(name, getattr(self, name), low=0.0, strict=True)
        # A bound of infinity clips nothing.
        check_number("clip", self.clip, low=0.0, strict=True, infinity=True)
        for share in self.betas:
            check_number("betas", share, low=0.0, high=1.0)
        check_number("final", self.final, low=0.0, high=1.0)
        if self.average is not None:
            check_number("average", self.average, low=0.0, high=1.0)
        check_choice("decay", self.decay, ("cosine", "linear", "constant"))
        if self.warmup >= self.steps:
            raise InputError(
                f"warmup must be less than steps, but is {self.warmup} of {self.steps} steps: make it shorter."
            )

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """AdamW for these parameters; the trainer sets its rate at every step."""
        return torch.optim.AdamW(parameters, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True)

    def rate(self, step: int) -> float:
        """The learning rate of the step with this index; the first index is 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        falling = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}[self.decay]
        return self.lr * (self.final + (1 - self.final) * falling)

    def kept(self, step: int) -> float:
        """The share that averaged weights keep of themselves at the step with this index."""
        return min(self.average or 0.0, (1 + step) / (10 + step))

    def lasting(self, steps: int) -> Self:
        """The same schedule for another number of steps; the warm-up and the evaluations are scaled with it.

        Example:
            >>> from monge.train import Schedule
            >>> Schedule(steps=5000, warmup=1000, evaluate_every=500).lasting(50)
            Schedule(steps=50, ..., warmup=10, ..., evaluate_every=5, ...)
        """
        check_number("steps", steps, low=1)
        factor = steps / self.steps
        return replace(
            self,
            steps=steps,
            warmup=min(round(factor * self.warmup), steps - 1),
            evaluate_every=max(1, round(factor * self.evaluate_every)),
        )
