"""The verb of the room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monge.data import Task
from monge.train import Checkpoint, MachineConfig, Progress, Step, Trained, Trainer, seeded

from .classification import classification
from .classifier import Classifier
from .coupler_config import CouplerConfig
from .model_config import ModelConfig
from .result import Result
from .schedule_config import ScheduleConfig

__all__ = ["fit", "load"]


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
    callbacks: Iterable[Callable[[Step], object]] = (),
) -> Trained[Classifier, Result]:
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
        callbacks: called with every `monge.train.Step` after it is done.

    Returns:
        The model with the weights that were best on the validation part, the numbers, and the metrics on the way.

    Raises:
        InputError: the folder holds a run and ``resume`` is off; it holds another run or a damaged checkpoint; a file
            could not be written; or the loss stopped being finite.

    Example:
        >>> import torch
        >>> from monge.data import Split, Task
        >>> from monge.sequences import ScheduleConfig, fit
        >>> tokens = torch.randint(4, (64, 6), generator=torch.Generator().manual_seed(0))
        >>> part = Split(tokens, tokens[:, 0])
        >>> task = Task("first token", part, part, part, vocabulary=4, classes=4)
        >>> trained = fit(task, "pivots:pivots=4", schedule=ScheduleConfig(steps=60, lr=0.01, warmup=5))
        >>> trained.result.accuracy > 0.9
        True
        >>> trained.result.column_error < 1e-5
        True
    """
    coupler, schedule = CouplerConfig.of(coupler), schedule or ScheduleConfig()
    objective, data = classification(task, schedule, seed=seed)
    about = {"coupler": asdict(coupler), "model": asdict(model or ModelConfig())}
    with seeded(seed, "weights", 0):
        made = _built({"data": data.describe, **about})
    trained = Trainer(
        made, objective, data, schedule, machine, seed=seed, folder=folder, resume=resume,
        name=f"{task.name}, {coupler}, seed {seed}", about=about, progress=progress, callbacks=callbacks,
    ).run()  # fmt: skip
    result = Result.of(trained.result, task, coupler=str(coupler), seed=seed)
    return Trained(made, result, trained.records)


def load(folder: str | os.PathLike[str]) -> Classifier:
    """The model of a run, finished or not: its best weights so far, in evaluation mode, on the processor.

    Args:
        folder: the folder of the run, as given to `fit`.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    checkpoint = Checkpoint.load(Path(folder) / "checkpoint.pt")
    model = _built(checkpoint.identity)
    model.load_state_dict(checkpoint.weights)
    return model.eval()


def _built(identity: dict[str, Any]) -> Classifier:
    """A model of the size that a checkpoint tells, with weights as they fall."""
    task = identity["data"]
    return Classifier(
        task["vocabulary"],
        task["classes"],
        task["length"],
        ModelConfig(**identity["model"]),
        coupler=CouplerConfig(**identity["coupler"]),
        pair=task["pair"],
    )
