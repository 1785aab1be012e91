"""A task with the model and the schedule that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..data import Task
from ..errors import InputError
from .model_config import ModelConfig
from .schedule_config import ScheduleConfig

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What `monge train` runs: the same task, model and schedule for every coupler.

    Args:
        name: what to call it.
        about: one sentence about it.
        make: the task, given the folder of data: where official files are, or where generated ones are kept.
        model: the size of the encoder.
        schedule: what is done at every step.
        official: the data are files of others, which the folder must hold.
    """

    name: str
    about: str
    make: Callable[[Path | None], Task]
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    official: bool = False

    def task(self, folder: Path | None = None) -> Task:
        """The data.

        Args:
            folder: where official files are, or where generated ones are kept; None keeps nothing.

        Raises:
            InputError: official files are needed and no folder of them is given, or what is in it cannot be read.
        """
        if self.official and (folder is None or not folder.is_dir()):
            told = "no folder is given" if folder is None else f"{folder} is no folder"
            raise InputError(
                f"{self.name} reads the official files of the Long Range Arena, but {told}: unpack its release and "
                "name the folder with --data-dir."
            )
        return self.make(folder)
