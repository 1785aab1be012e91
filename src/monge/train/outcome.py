"""The numbers of a finished run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The numbers of one run; figures belong to the weights that were best on the part ``"valid"``.

    Args:
        figures: for every part by name, its means by name.
        best_step: the number of steps that led to the best weights.
        steps: the number of all steps.
        step_seconds: median time of a step, without evaluations.
        speeds: median amounts per second, by name.
        peak_bytes: the most bytes of tensors at the same time during one step, without the weights.
        parameters: how many numbers are learned.
        measured: what the objective measures about the model, by name.
    """

    figures: dict[str, dict[str, float]]
    best_step: int
    steps: int
    step_seconds: float
    speeds: dict[str, float]
    peak_bytes: int
    parameters: int
    measured: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """The same as a dictionary of plain numbers."""
        return asdict(self)
