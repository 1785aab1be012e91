"""How far long work is: a bar for people at a terminal, and records of `logging` for programs."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress"]

EVERY = 60.0
"""Seconds between two records of one task."""


@dataclass
class _Task:
    """One piece of work: what it is, how far it is, and when it was last told."""

    name: str
    steps: int | None
    done: int
    told: float
    note: str = ""
    speed: str = ""
    bar: TaskID | None = None

    @property
    def count(self) -> str:
        """How much is done, of how much."""
        return "" if self.steps is None else f"{self.done:,} of {self.steps:,}"

    def __str__(self) -> str:
        """The task in a line."""
        return ", ".join(filter(None, (self.name, self.count, self.speed, self.note)))


class Progress:
    """Tells how far work is: by a bar on standard error, if it is shown, and by records of `logging` in any case.

    The logger is ``monge.ROOM``. Begin and end of a task are records of the level ``DEBUG``; while it lasts, there is
    one of the level ``INFO`` each minute. As long as no program configures `logging`, nobody sees them. While the block
    runs, a thread of its own takes care that a long step is told as well; rich is imported only if a bar is shown.

    Args:
        shown: whether to show a bar while the block runs; None asks whether standard error is a terminal.
        room: the part of Monge that works, as in the name of the logger.

    Example:
        >>> from monge.train import Progress
        >>> with Progress(shown=False) as progress:
        ...     progress.begin("regression, seed 0", steps=10, done=0)
        ...     progress.tell(done=10, note="loss 0.1")
        ...     progress.end()
    """

    def __init__(self, shown: bool | None = None, *, room: str = "train") -> None:
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._log = logging.getLogger(f"monge.{room}")
        self._bar: Bar | None = None
        self._tasks: list[_Task] = []
        self._left = Event()

    def __enter__(self) -> Progress:
        self._left.clear()
        Thread(target=self._watch, daemon=True).start()
        if self._shown:
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str, *, steps: int | None, done: int) -> None:
        """Tell that work begins or continues, possibly as a part of the work that was begun before.

        Args:
            name: what it is called.
            steps: how many steps it has; None if nobody knows.
            done: how many of them are done.
        """
        task = _Task(name, steps, done, time.perf_counter())
        if self._bar is not None:
            task.bar = self._bar.add_task(name, total=steps, completed=done, count=task.count, note="", speed="")
        self._tasks.append(task)
        self._log.debug("%s: begins", str(task))

    def tell(self, *, done: int, note: str | None = None, speed: str | None = None) -> None:
        """Tell how many steps are done."""
        if not self._tasks:
            return
        task = self._tasks[-1]
        task.done = done
        task.note, task.speed = task.note if note is None else note, task.speed if speed is None else speed
        if self._bar is not None and task.bar is not None:
            self._bar.update(task.bar, completed=done, count=task.count, note=task.note, speed=task.speed)
        self._record(task)

    def of(self, name: str) -> Callable[[int, int], None]:
        """A callback for a function that reports how much of its work is done, and how much there is in all."""
        begun: list[_Task] = []

        def tell(done: int, total: int) -> None:
            if not begun:
                self.begin(name, steps=total, done=done)
                begun.append(self._tasks[-1])
            self.tell(done=done)
            if done >= total:
                self.end()
                begun.clear()

        return tell

    def end(self) -> None:
        """Tell that the work that was begun last is over."""
        if not self._tasks:
            return
        task = self._tasks.pop()
        if self._bar is not None and task.bar is not None:
            self._bar.remove_task(task.bar)
        self._log.debug("%s: ends", str(task))

    def _record(self, task: _Task) -> None:
        now = time.perf_counter()
        if now - task.told >= EVERY:
            task.told = now
            self._log.info("%s", str(task))

    def _watch(self) -> None:
        """Tell of the innermost task each minute, even if it does not tell by itself."""
        while not self._left.wait(EVERY / 4):
            if self._tasks:
                self._record(self._tasks[-1])


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    return Rich(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
