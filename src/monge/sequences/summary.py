"""The runs of one coupler as one row of a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .result import Result

__all__ = ["HEADINGS", "Summary", "summarise"]

# How one number is made of those of all seeds.
_OVER_SEEDS: dict[str, Callable[[list[Any]], Any]] = {
    "accuracy": statistics.mean,
    "step_seconds": statistics.median,
    "tokens_per_second": statistics.median,
    "peak_bytes": max,
    "row_error": max,
    "column_error": max,
    "parameters": max,
}
HEADINGS = ("coupler", "accuracy", "step", "memory", "row error", "column error", "tokens/s", "parameters")


@dataclass(frozen=True)
class Summary:
    """Means over seeds, and the spread of the accuracy.

    Args:
        coupler: its name and options.
        seeds: how many runs.
        accuracy: mean on the test part.
        spread: standard deviation over seeds, None of a single one.
        step_seconds: median time of a step.
        tokens_per_second: median throughput.
        peak_bytes: largest memory of a step.
        row_error: largest.
        column_error: largest.
        parameters: numbers that are learned.
    """

    coupler: str
    seeds: int
    accuracy: float
    spread: float | None
    step_seconds: float
    tokens_per_second: float
    peak_bytes: int
    row_error: float
    column_error: float
    parameters: int

    def cells(self) -> tuple[str, ...]:
        """The row, in the order of ``HEADINGS``."""
        spread = "" if self.spread is None else f" ± {self.spread:.4f}"
        return (
            self.coupler,
            f"{self.accuracy:.4f}{spread}",
            f"{1e3 * self.step_seconds:.1f} ms",
            f"{self.peak_bytes / 2**20:,.0f} MB",
            f"{self.row_error:.1e}",
            f"{self.column_error:.1e}",
            f"{self.tokens_per_second:,.0f}",
            f"{self.parameters:,}",
        )


def summarise(results: Iterable[Result]) -> list[Summary]:
    """One row per coupler, in the order in which they come."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.coupler, []).append(result)
    return [_row(name, runs) for name, runs in groups.items()]


def _row(name: str, runs: list[Result]) -> Summary:
    held = {figure: [getattr(run, figure) for run in runs] for figure in _OVER_SEEDS}
    spread = statistics.stdev(held["accuracy"]) if len(runs) > 1 else None
    return Summary(name, len(runs), spread=spread, **{k: _OVER_SEEDS[k](numbers) for k, numbers in held.items()})
