"""A line that shows how far a run is, how fast it goes, and when it will be done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress"]


class Progress:
    """Shows the progress of runs on standard error while the block runs; rich is imported only if it is shown.

    Args:
        shown: whether to show anything; None asks whether standard error is a terminal.

    Example:
        >>> from monge.train import Progress
        >>> with Progress(shown=False) as progress:
        ...     progress.begin("regression, seed 0", steps=10, done=0)
        ...     progress.tell(done=10, note="loss 0.1")
        ...     progress.end()
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if self._shown:
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str, *, steps: int, done: int) -> None:
        """Show that a run begins or continues."""
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=steps, completed=done, note="", speed="")

    def tell(self, *, done: int, note: str | None = None, speed: str | None = None) -> None:
        """Show how many steps are done."""
        if self._bar is not None and self._task is not None:
            told: dict[str, Any] = {"note": note, "speed": speed}
            told = {name: text for name, text in told.items() if text is not None}
            self._bar.update(self._task, completed=done, **told)

    def of(self, name: str) -> Callable[[int, int], None]:
        """A callback for a function that reports how much of its work is done, and how much there is in all."""

        def tell(done: int, total: int) -> None:
            if self._task is None:
                self.begin(name, steps=total, done=done)
            self.tell(done=done)
            if done >= total:
                self.end()

        return tell

    def end(self) -> None:
        """Show that the run is over."""
        if self._bar is not None and self._task is not None:
            self._bar.stop_task(self._task)
            self._bar.remove_task(self._task)
            self._task = None


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    return Rich(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
