"""What a finished run measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from monge.data import Task
from monge.train import Outcome

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The numbers of one run; accuracies belong to the weights that were best on the validation part.

    Args:
        task: name of the task.
        coupler: as `CouplerConfig.parse` reads it.
        seed: of weights, order and dropout.
        accuracy: on the test part.
        loss: mean cross-entropy on the test part.
        valid_accuracy: on the validation part.
        majority_rate: accuracy of always guessing the most frequent class of the test part.
        best_step: steps until the best weights.
        steps: steps until the end.
        step_seconds: median time of a step, evaluation left out.
        tokens_per_second: positions that a step works through, padding included, over its time.
        peak_bytes: tensors alive at once during one step, weights left out.
        row_error: largest deviation of a row of a learned attention matrix from sum one, on test sequences.
        column_error: the same of columns, relative to the sum that balance would give them.
        parameters: numbers that are learned.
    """

    task: str
    coupler: str
    seed: int
    accuracy: float
    loss: float
    valid_accuracy: float
    majority_rate: float
    best_step: int
    steps: int
    step_seconds: float
    tokens_per_second: float
    peak_bytes: int
    row_error: float
    column_error: float
    parameters: int

    @classmethod
    def of(cls, outcome: Outcome, task: Task, *, coupler: str, seed: int) -> Result:
        """What the outcome of a run says about a classifier."""
        shared = ("best_step", "steps", "step_seconds", "peak_bytes", "parameters")
        return cls(
            task=task.name,
            coupler=coupler,
            seed=seed,
            valid_accuracy=outcome.figures["valid"]["accuracy"],
            majority_rate=task.majority_rate,
            tokens_per_second=outcome.speeds["tokens"],
            # Accuracy and loss, then both errors.
            **outcome.figures["test"],
            **outcome.measured,
            **{name: getattr(outcome, name) for name in shared},
        )

    def plain(self) -> dict[str, Any]:
        """The same as a dictionary of plain numbers."""
        return asdict(self)
