"""The runs of one coupler as one row of a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from .result import Result

__all__ = ["HEADINGS", "Summary", "summarise"]

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
    accuracies = [run.accuracy for run in runs]
    return Summary(
        coupler=name,
        seeds=len(runs),
        accuracy=statistics.mean(accuracies),
        spread=statistics.stdev(accuracies) if len(runs) > 1 else None,
        step_seconds=statistics.median(run.step_seconds for run in runs),
        tokens_per_second=statistics.median(run.tokens_per_second for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        row_error=max(run.row_error for run in runs),
        column_error=max(run.column_error for run in runs),
        parameters=runs[0].parameters,
    )
