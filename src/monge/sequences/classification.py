"""The classification of sequences as an objective and as data of a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.coupling import Coupling
from monge.data import Split, Task
from monge.nn.diagnostics import marginal_error
from monge.train import Data, Figures, Objective, World, checksum, moved

from .batches import Batch, Batches, cut, in_order, lengths
from .classifier import Classifier
from .schedule_config import ScheduleConfig

__all__ = ["classification", "couplings_of", "sample"]

# Test sequences whose attention is looked at: a coupling of all pairs is built for some couplers.
_LOOKED_AT = 4


def classification(
    task: Task, schedule: ScheduleConfig | None = None, *, seed: int = 0, world: World | None = None
) -> tuple[Objective, Data]:
    """What a `monge.train.Trainer` needs to train a `Classifier` on a task.

    The loss is the cross-entropy; the best weights have the highest accuracy, and the lowest loss among equals. Of the
    model that comes out the errors of rows and columns of its couplings are measured.

    Args:
        task: what to learn.
        schedule: the size of batches, and whether they hold sequences of similar length.
        seed: of the order.
        world: the processes that share every batch; those that are joined now if None.

    Raises:
        InputError: a batch cannot be shared equally by the processes.

    Example:
        >>> import torch
        >>> from monge.data import Split, Task
        >>> from monge.sequences import Classifier, ScheduleConfig, classification
        >>> from monge.train import Trainer
        >>> part = Split(torch.randint(4, (32, 6)), torch.randint(2, (32,)))
        >>> task, schedule = Task("noise", part, part, part, vocabulary=4, classes=2), ScheduleConfig(steps=2, warmup=0)
        >>> trainer = Trainer(Classifier(4, 2, 6), *classification(task, schedule), schedule)
        >>> sorted(trainer.run().result.figures["test"])
        ['accuracy', 'loss']
    """
    schedule, shared = schedule or ScheduleConfig(), World.current() if world is None else world
    size = max(1, 2 * schedule.batch // shared.size)

    def judged(split: Split) -> Iterator[Batch]:
        return in_order(split, size, pad=task.pad, world=shared)

    batches = Batches(task.train, schedule.batch, pad=task.pad, seed=seed, bucket=schedule.bucket, world=shared)
    data = Data(
        batches.__getitem__,
        {"valid": lambda: judged(task.valid), "test": lambda: judged(task.test)},
        _described(task),
        lambda batch: {"tokens": batch.tokens.numel()},
    )
    return Objective(
        _loss, _score, _better, lambda model: _balance(model, sample(task.test, _LOOKED_AT, task.pad))
    ), data


def sample(split: Split, count: int, pad: int | None) -> Batch:
    """The first sequences of a part."""
    index = torch.arange(min(count, len(split)))
    return cut(split, index, pad, lengths(split.tokens, pad))


def couplings_of(model: Classifier, batch: Batch) -> tuple[Coupling, ...]:
    """What every block couples in the sequences of a batch."""
    with torch.no_grad():
        return model.couplings(*moved(batch[:2], next(model.parameters()).device))


def _loss(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.tokens, batch.padding).float(), batch.labels)


def _score(model: Any, batch: Batch) -> dict[str, Tensor]:
    logits = model(batch.tokens, batch.padding).float()
    return {
        "accuracy": (logits.argmax(-1) == batch.labels).float(),
        "loss": F.cross_entropy(logits, batch.labels, reduction="none"),
    }


def _better(new: Figures, best: Figures) -> bool:
    return (new["accuracy"], -new["loss"]) > (best["accuracy"], -best["loss"])


def _balance(model: Classifier, batch: Batch) -> dict[str, float]:
    """The largest errors of rows and of columns, over layers, heads and sequences."""
    plans = couplings_of(model, batch)
    padding = batch.padding
    seen = None if padding is None else model.encoder.seen(padding.flatten(0, -2).to(plans[0].device))
    seen = None if seen is None else seen[:, None]
    errors = [marginal_error(plan, seen, seen) for plan in plans]
    rows, columns = (torch.stack([error.max() for error in side]).max() for side in zip(*errors, strict=True))
    return {"row_error": float(rows), "column_error": float(columns)}


def _described(task: Task) -> dict[str, Any]:
    """What a task is, with a checksum of everything in it."""
    parts = task.parts.values()
    return {
        "name": task.name,
        "vocabulary": task.vocabulary,
        "classes": task.classes,
        "length": task.length,
        "pad": task.pad,
        "pair": task.train.tokens.ndim == 3,
        "sequences": [len(split) for split in parts],
        "checksum": checksum(held for split in parts for held in (split.tokens, split.labels)),
    }
