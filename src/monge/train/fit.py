"""The verb of the room."""

from __future__ import annotations

import os
from pathlib import Path

from ..data import Task
from .coupler_config import CouplerConfig
from .machine_config import MachineConfig
from .model_config import ModelConfig
from .progress import Progress
from .schedule_config import ScheduleConfig
from .trained import Trained
from .trainer import Trainer

__all__ = ["fit"]


def fit(
    task: Task,
    coupler: str | CouplerConfig = "pivots",
    *,
    model: ModelConfig | None = None,
    schedule: ScheduleConfig | None = None,
    machine: MachineConfig | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Train a small Transformer with a coupler on a task.

    With a folder, a checkpoint is kept in it, and a run that was killed at any moment goes on with ``resume`` as if
    nothing had happened: on the processor, the numbers are the same bit by bit. The same seed gives the same numbers.
    The random state of the caller is left alone.

    Args:
        task: what to learn.
        coupler: a name, with options after colons, or both as a value.
        model: the size of the encoder; `ModelConfig` if None.
        schedule: what is done at every step; `ScheduleConfig` if None.
        machine: device, precision, compilation; `MachineConfig` if None.
        seed: of weights, order of the data and dropout.
        folder: where checkpoint and metrics are kept; None keeps nothing.
        resume: go on with the run of the folder, if there is one; a finished one is read and not redone.
        progress: where to show how far it is.

    Returns:
        The model with the weights that were best on the validation part, the numbers, and the metrics on the way.

    Raises:
        InputError: the folder holds a run and ``resume`` is off; it holds another run or a damaged checkpoint; a file
            could not be written; or the loss stopped being finite.

    Example:
        >>> import torch
        >>> from monge.data import Split, Task
        >>> from monge.train import ScheduleConfig, fit
        >>> tokens = torch.randint(4, (64, 6), generator=torch.Generator().manual_seed(0))
        >>> part = Split(tokens, tokens[:, 0])
        >>> task = Task("first token", part, part, part, vocabulary=4, classes=4)
        >>> trained = fit(task, "pivots:pivots=4", schedule=ScheduleConfig(steps=60, lr=0.01, warmup=5))
        >>> trained.result.accuracy > 0.9
        True
        >>> trained.result.column_error < 1e-5
        True
    """
    return Trainer(
        task,
        CouplerConfig.of(coupler),
        model or ModelConfig(),
        schedule or ScheduleConfig(),
        machine or MachineConfig(),
        seed=seed,
        folder=None if folder is None else Path(folder),
        progress=progress or Progress(shown=False),
    ).run(resume)
