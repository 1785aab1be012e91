"""What is measured about a model once it is trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from ..data import Split, Task
from ..nn.diagnostics import marginal_error
from .batches import Batch, Batches, cut, lengths
from .classifier import Classifier
from .journal import Journal
from .machine_config import MachineConfig
from .memory import peak_bytes
from .result import Result
from .schedule_config import ScheduleConfig

__all__ = ["balance", "measure", "sample"]

# Test sequences whose attention is looked at: a coupling of all pairs is built for some couplers.
_LOOKED_AT = 4


def measure(
    model: Classifier,
    task: Task,
    schedule: ScheduleConfig,
    machine: MachineConfig,
    journal: Journal,
    *,
    coupler: str,
    seed: int,
    steps: int,
    best: Mapping[str, Any],
    test: tuple[float, float],
) -> Result:
    """The result of a run: what was counted on the way, and what the model that came out is like."""
    device = machine.resolve()
    row_error, column_error = balance(model, sample(task.test, _LOOKED_AT, task.pad).to(device))
    batch = Batches(task.train, schedule.batch, pad=task.pad, seed=seed, bucket=schedule.bucket)[0].to(device)

    def step() -> None:
        model.train()
        with machine.autocast(device):
            loss = F.cross_entropy(model(batch.tokens, batch.padding).float(), batch.labels)
        model.zero_grad(set_to_none=True)
        loss.backward()

    trained = journal.of("train")
    return Result(
        task=task.name,
        coupler=coupler,
        seed=seed,
        accuracy=test[0],
        loss=test[1],
        valid_accuracy=best["accuracy"],
        majority_rate=task.majority_rate,
        best_step=best["step"],
        steps=steps,
        step_seconds=statistics.median(record["step_seconds"] for record in trained),
        tokens_per_second=statistics.median(record["tokens_per_second"] for record in trained),
        peak_bytes=peak_bytes(step, device),
        row_error=row_error,
        column_error=column_error,
        parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
    )


def balance(model: Classifier, batch: Batch) -> tuple[float, float]:
    """The largest errors of rows and of columns, over layers, heads and sequences."""
    model.eval()
    padding = None if batch.padding is None else model.encoder.seen(batch.padding.flatten(0, -2))
    if padding is not None:
        padding = padding[:, None]
    rows, columns = [], []
    with torch.no_grad():
        for coupling in model.couplings(batch.tokens, batch.padding):
            row, column = marginal_error(coupling, padding, padding)
            rows.append(row.max())
            columns.append(column.max())
    return float(torch.stack(rows).max()), float(torch.stack(columns).max())


def sample(split: Split, count: int, pad: int | None) -> Batch:
    """The first sequences of a part."""
    index = torch.arange(min(count, len(split)))
    return cut(split, index, pad, lengths(split.tokens, pad))
