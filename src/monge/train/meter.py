"""Loss, time and amounts since the last record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
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
        self._total = torch.tensor(total, dtype=torch.float64, device=device)
        self._clear()

    def _clear(self) -> None:
        self._amounts: Counter[str] = Counter()
        self._steps, self._start = 0, time.perf_counter()

    @property
    def window(self) -> tuple[float, int]:
        """The numbers that a checkpoint stores."""
        return float(self._total), self._count

    def count(self, amounts: Mapping[str, int], times: int = 1) -> None:
        """Count the amounts of a batch, times the number of processes."""
        self._amounts.update({name: times * amount for name, amount in amounts.items()})

    def add(self, loss: Tensor) -> None:
        """Count a step and its loss."""
        self._total = self._total + loss
        self._count += 1
        self._steps += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time while the block runs."""
        begin = time.perf_counter()
        yield
        self._start += time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        """Mean loss, and time and amounts per step and per second since the last reading; then all start from zero."""
        seconds = time.perf_counter() - self._start
        told = {"loss": float(self._total) / self._count, "step_seconds": seconds / self._steps}
        told |= {f"{name}_per_second": amount / seconds for name, amount in self._amounts.items()}
        self._total, self._count = torch.zeros_like(self._total), 0
        self._clear()
        return told
