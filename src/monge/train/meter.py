"""Loss, time and tokens since the last record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Meter"]


class Meter:
    """Adds up on the device, so that nothing waits for a number until a record is made.

    Args:
        device: where the losses are.
        window: sum of losses and number of steps that an interrupted run had not yet recorded.
    """

    def __init__(self, device: torch.device, window: tuple[float, int] = (0.0, 0)) -> None:
        total, self._count = window
        self._total = torch.tensor(total, device=device)
        self._tokens = self._steps = 0
        self._start = time.perf_counter()

    @property
    def window(self) -> tuple[float, int]:
        """What a checkpoint keeps."""
        return float(self._total), self._count

    def add(self, loss: Tensor, tokens: int) -> None:
        """A step is done."""
        self._total = self._total + loss
        self._count += 1
        self._steps += 1
        self._tokens += tokens

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still while the block runs."""
        begin = time.perf_counter()
        yield
        self._start += time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        """Mean loss and speed since the last reading, which start anew."""
        loss = float(self._total) / self._count
        seconds = time.perf_counter() - self._start
        told = {
            "loss": loss,
            "step_seconds": seconds / self._steps,
            "tokens_per_second": self._tokens / seconds,
        }
        self._total, self._count = torch.zeros_like(self._total), 0
        self._tokens = self._steps = 0
        self._start = time.perf_counter()
        return told
