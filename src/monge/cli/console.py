"""Where the command writes: answers to standard output, everything else to standard error."""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["answer", "complain", "note", "phases", "table"]


def answer(what: object) -> None:
    """Write to standard output."""
    # Made anew each time, so that a stream that was redirected since is the one written to.
    Console(highlight=False, soft_wrap=isinstance(what, str)).print(what)


def complain(sentence: str) -> None:
    """Say on standard error what went wrong."""
    _say(f"[bold red]error:[/] {escape(sentence)}")


def note(sentence: str) -> None:
    """Say on standard error something worth knowing."""
    _say(f"[bold yellow]note:[/] {escape(sentence)}")


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def table(title: str, rows: list[tuple[str, str]]) -> Table:
    """Names on the left, values on the right."""
    made = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    made.add_column(style="cyan", no_wrap=True)
    made.add_column(overflow="fold")
    for name, told in rows:
        made.add_row(name, escape(told))
    return made


class Phases:
    """What the command is busy with, and how long each phase took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show ``name`` with a running clock while the block runs."""
        task = self._progress.add_task(name, total=None)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start
            self._progress.update(task, total=1, completed=1)
            self._progress.stop_task(task)

    def spent(self) -> list[tuple[str, str]]:
        """The rows of a table: time in all and by phase, and the most memory that the process has held."""
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return [
            ("time", f"{sum(self.seconds.values()):.2f} s ({parts})"),
            ("peak memory", f"{peak:,.0f} MB, libraries included"),
        ]


@contextmanager
def noted() -> Iterator[None]:
    """Warnings become notes after the block."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for told in dict.fromkeys(str(warning.message) for warning in caught):
                note(told)


@contextmanager
def phases() -> Iterator[Phases]:
    """Show progress on standard error while the block runs, if a person looks; warnings become notes after it."""
    columns = SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(stderr=True)
    with noted(), Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Phases(progress)
