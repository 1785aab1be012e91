"""Every coupler with every seed, under one schedule."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from monge._checks import check_number
from monge.data import Task
from monge.train import MachineConfig, Progress, Trained

from .classifier import Classifier
from .coupler_config import CouplerConfig
from .fit import fit
from .model_config import ModelConfig
from .result import Result
from .schedule_config import ScheduleConfig

__all__ = ["grid"]


def grid(
    task: Task,
    couplers: str | Iterable[str | CouplerConfig],
    *,
    seeds: int = 1,
    model: ModelConfig | None = None,
    schedule: ScheduleConfig | None = None,
    machine: MachineConfig | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    after: Callable[[Trained[Classifier, Result]], None] | None = None,
) -> list[Trained[Classifier, Result]]:
    """Train every coupler with every seed, all of them under the same schedule.

    Seed by seed, so that what is done when time runs out is a comparison of all couplers. With a folder and ``resume``,
    finished runs are read and not redone, and the one that was interrupted goes on.

    Args:
        task: what to learn.
        couplers: as `CouplerConfig.parse_list` reads them.
        seeds: how many; they are 0, 1, ...
        model: the size of the encoder.
        schedule: what is done at every step.
        machine: device, precision, compilation.
        folder: where the runs are kept, each in ``coupler/seed-k``.
        resume: go on with what the folder holds.
        progress: where to show how far it is.
        after: called with every run when it is done.

    Returns:
        The runs, seed by seed.

    Raises:
        InputError: as `fit`, or a coupler is unknown or named twice.

    Example:
        >>> import torch
        >>> from monge.data import Split, Task
        >>> from monge.sequences import ScheduleConfig, grid
        >>> part = Split(torch.randint(4, (32, 6)), torch.randint(2, (32,)))
        >>> task = Task("noise", part, part, part, vocabulary=4, classes=2)
        >>> runs = grid(task, "softmax,linear", schedule=ScheduleConfig(steps=2, warmup=0))
        >>> [run.result.coupler for run in runs]
        ['softmax', 'linear']
    """
    check_number("seeds", seeds, low=1)
    chosen = CouplerConfig.parse_list(couplers)
    runs = []
    for seed in range(seeds):
        for coupler in chosen:
            place = None if folder is None else place_of(Path(folder), coupler, seed)
            trained = fit(
                task, coupler, model=model, schedule=schedule, machine=machine, seed=seed, folder=place,
                resume=resume, progress=progress,
            )  # fmt: skip
            runs.append(trained)
            if after is not None:
                after(trained)
    return runs


def place_of(folder: Path, coupler: CouplerConfig, seed: int) -> Path:
    """Where a run of a grid is kept."""
    return folder / str(coupler).replace(":", "+") / f"seed-{seed}"
