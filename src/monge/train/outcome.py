"""The account of a finished run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The numbers of one run; figures belong to the weights that were best on the part ``"valid"``.

    Args:
        figures: means by name, of every part by name.
        best_step: steps until the best weights.
        steps: steps until the end.
        step_seconds: median time of a step, evaluation left out.
        speeds: median amounts a second, by name.
        peak_bytes: tensors alive at once during one step, weights left out.
        parameters: numbers that are learned.
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
