"""A task with the model and the schedule that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monge._checks import check_choice
from monge.data import Task
from monge.errors import InputError

from .model_config import ModelConfig
from .schedule_config import ScheduleConfig

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """What ``monge train`` runs: the same task, model and schedule for every coupler.

    Args:
        name: what to call it.
        about: a few words on it.
        make: a function of `monge.data`, with its options.
        model: the size of the encoder.
        schedule: what is done at every step.
        source: where the data are from: ``"installed"`` with some package, ``"generated"``, or ``"official"`` files,
            which a folder must hold.
    """

    name: str
    about: str
    make: Callable[..., Task]
    model: ModelConfig = field(default_factory=ModelConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    source: str = "installed"

    def __post_init__(self) -> None:
        check_choice("source", self.source, ("installed", "generated", "official"))

    def task(
        self,
        folder: Path | None = None,
        *,
        legacy_pixel_mask: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Task:
        """The data.

        Args:
            folder: where official files are, or where generated data are kept; None keeps nothing.
            legacy_pixel_mask: take black pixels of official data for padding, as some published numbers do.
            progress: called with how much is made or read, and of how much.

        Raises:
            InputError: official files are needed and no folder of them is given, or what is in it cannot be read.
        """
        options: dict[str, Any] = {}
        if self.source == "official" and (folder is None or not folder.is_dir()):
            told = "no folder is given" if folder is None else f"{folder} is no folder"
            raise InputError(
                f"{self.name} reads the official files of the Long Range Arena, but {told}: unpack its release and "
                "name the folder with --data-dir."
            )
        if legacy_pixel_mask:
            if self.source != "official":
                raise InputError(f"legacy_pixel_mask is for official pictures, but {self.name} has none: leave it out.")
            options["legacy_pixel_mask"] = True
        if self.source != "installed":
            options |= {"folder": folder, "progress": progress}
        return self.make(**options)
