"""A finished run: its model and its numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .classifier import Classifier
from .coupler_config import CouplerConfig
from .journal import read_records
from .model_config import ModelConfig
from .result import Result

__all__ = ["Trained", "load"]


@dataclass(frozen=True)
class Trained:
    """What `fit` answers.

    Args:
        model: with the weights that were best on the validation part, in evaluation mode.
        result: what was measured.
        records: the metrics on the way, as in ``metrics.jsonl``.
    """

    model: Classifier
    result: Result
    records: list[dict[str, Any]]


def load(folder: str | os.PathLike[str]) -> Classifier:
    """The model of a run, finished or not: its best weights so far, in evaluation mode, on the processor.

    Args:
        folder: the folder of the run, as given to `fit`.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    checkpoint = Checkpoint.load(Path(folder) / "checkpoint.pt")
    model = build(checkpoint.identity)
    model.load_state_dict(checkpoint.best["model"] if checkpoint.best else checkpoint.model)
    return model.eval()


def finished(checkpoint: Checkpoint, folder: Path) -> Trained:
    """The run that a checkpoint ends."""
    model = build(checkpoint.identity)
    model.load_state_dict(checkpoint.model)
    metrics = folder / "metrics.jsonl"
    records = read_records(metrics) if metrics.exists() else []
    return Trained(model.eval(), Result(**(checkpoint.result or {})), records)


def build(identity: dict[str, Any]) -> Classifier:
    """A model of the size that a checkpoint tells, with weights as they fall."""
    task = identity["task"]
    return Classifier(
        task["vocabulary"],
        task["classes"],
        task["length"],
        ModelConfig(**identity["model"]),
        coupler=CouplerConfig(**identity["coupler"]),
        pair=task["pair"],
    )
