"""The ``monge`` command; typer and rich are imported when it runs, never by the library."""

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the ``monge`` command and leave the process with its exit code.

    0: done. 1: an answer was given, but it is not what was asked (not converged, a self-test failed). 2: bad input.
    3: a fault of the program. 4: training diverged. 130: interrupted; a sentence says how to go on.

    Args:
        arguments: What follows the command's name; None takes the process's own.

    Example:
        >>> from monge.cli import main
        >>> main(["--version"])
        Traceback (most recent call last):
        ...
        SystemExit: 0
    """
    from .app import run

    run(arguments)
