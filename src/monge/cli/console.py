"""Where the command writes: answers to standard output, everything else to standard error."""

from __future__ import annotations

import logging
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monge._progress import Progress
from monge.solver import Status

__all__ = ["answer", "complain", "heard", "judge", "note", "noted", "phases", "progress", "table"]


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


def judge(status: Status) -> None:
    """Leave with exit code 1 if an answer, which was told, is not what was asked."""
    if not status.ok:
        note(f"The tolerance was not met. {status.value}")
        raise typer.Exit(1)


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
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell that the command is busy with ``name`` while the block runs."""
        self.progress.begin(name, steps=None, done=0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start
            self.progress.end()

    def spent(self) -> list[tuple[str, str]]:
        """The rows of a table: time in all and by phase, and the most memory that the process has held."""
        parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return [
            ("time", f"{sum(self.seconds.values()):.2f} s ({parts})"),
            ("peak memory", f"{peak:,.0f} MB, libraries included"),
        ]


class _Notes(logging.Handler):
    """Records as notes, after what they are about."""

    def __init__(self, about: str) -> None:
        super().__init__(logging.INFO)
        self._about = about

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{self._about}{record.getMessage()}")


@contextmanager
def heard(logger: str, about: str = "") -> Iterator[None]:
    """Records of a logger become notes while the block runs."""
    log, notes = logging.getLogger(logger), _Notes(about)
    before = log.level, log.propagate
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    # What is told here need not be told once more by whoever listens to all of Monge.
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(notes)
        log.setLevel(before[0])
        log.propagate = before[1]


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
def progress(shown: bool | None = None) -> Iterator[Progress]:
    """Tell how far the block is: by a bar if standard error is a terminal, elsewhere by a line a minute.

    Args:
        shown: Whether to tell at all; False for a process that others speak for.
    """
    lines = shown is not False and not sys.stderr.isatty()
    with Progress(shown) as told, heard("monge") if lines else nullcontext():
        yield told


@contextmanager
def phases() -> Iterator[Phases]:
    """Tell what the command is busy with while the block runs; warnings become notes after it."""
    with noted(), progress() as told:
        yield Phases(told)
