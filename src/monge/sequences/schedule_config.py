"""The schedule of a classification: what is done step by step, and how many sequences at once."""

from __future__ import annotations

from dataclasses import dataclass

from monge._checks import check_number
from monge.train import Schedule

__all__ = ["ScheduleConfig"]


@dataclass(frozen=True)
class ScheduleConfig(Schedule):
    """A `monge.train.Schedule` with two numbers of the data.

    Args:
        batch: sequences a batch, all processes together.
        bucket: batches of sequences of similar length: less padding, the same sequences in an epoch.

    Raises:
        InputError: a number lies outside of its range.

    Example:
        >>> from monge.sequences import ScheduleConfig
        >>> ScheduleConfig(steps=5000, warmup=1000, batch=16, evaluate_every=500).lasting(50)
        ScheduleConfig(steps=50, ..., warmup=10, ..., evaluate_every=5, ..., batch=16, bucket=False)
    """

    batch: int = 32
    bucket: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("batch", self.batch, low=1)
