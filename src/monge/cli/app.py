"""The command and its subcommands; what may go wrong becomes one sentence and an exit code."""

from __future__ import annotations

import functools
import itertools
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from monge._version import __version__
from monge.errors import DivergenceError, InputError, TransportError

from . import console
from .barycenter import barycenter
from .cite import cite
from .couple import couple
from .demo import demo
from .doctor import doctor
from .map import map_points
from .pairwise import pairwise
from .papers import papers
from .registries import COMMANDS, registries
from .train import train

__all__ = ["COMMANDS", "app", "run"]

_LONGEST = 4096


class _InterruptedError(Exception):
    """Somebody pressed Ctrl-C while a command ran; of no kind that typer answers itself."""


def _version(wanted: bool) -> None:
    if wanted:
        console.answer(f"monge {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Optimal transport: plans between point clouds, and networks made of them, from the command line."""


for _command in (couple, pairwise, barycenter, train, demo, doctor, cite, papers):
    COMMANDS.register(_command.__name__, _command)
COMMANDS.register("map", map_points)
COMMANDS.register("list", registries)


def app() -> typer.Typer:
    """The command with all its subcommands: those of this library, and those that other distributions register."""
    made = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    with console.noted():
        commands = COMMANDS.items()
    for name, command in commands:
        made.command(name)(_interruptible(command))
    return made


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except KeyboardInterrupt:
            raise _InterruptedError from None

    return run


def run(arguments: list[str] | None = None) -> None:
    """Run the command; ``--debug`` anywhere shows the traceback behind a sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        _check_lengths(arguments)
        app()(args=[argument for argument in arguments if argument != "--debug"], prog_name="monge")
    except Exception as error:
        if debug:
            raise
        code, sentence = _explain(error, arguments)
        console.complain(sentence)
        sys.exit(code)


def _check_lengths(arguments: list[str]) -> None:
    """What is longer than any path would be told in full by whoever refuses it."""
    for argument in arguments:
        if len(argument) > _LONGEST:
            raise InputError(
                f"The argument {argument[:20]}... has {len(argument)} characters, more than {_LONGEST}: shorten it."
            )


def _explain(error: Exception, arguments: list[str]) -> tuple[int, str]:
    """The exit code and the sentence for what went wrong."""
    told = " ".join(str(error).split())
    if isinstance(error, _InterruptedError):
        return 130, _way_on(arguments)
    if isinstance(error, DivergenceError):
        return 4, told
    if isinstance(error, TransportError):
        return 2, told
    if isinstance(error, MemoryError):
        return 2, (
            f"There is not enough memory for this problem ({told or 'allocation failed'}): "
            "use fewer points, --dtype float32, or a positive --epsilon, which streams."
        )
    if isinstance(error, OSError):
        return 2, f"The system refused ({told}): check the paths and the space that is left."
    return (
        3,
        f"A fault inside Monge ({type(error).__name__}: {told}): run it again with --debug to see where.",
    )


def _value(option: str, arguments: list[str]) -> list[str]:
    """What was given for an option, as ``--out FILE`` or ``--out=FILE``."""
    apart = [after for before, after in itertools.pairwise(arguments) if before == option]
    return apart + [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{option}=")]


def _way_on(arguments: list[str]) -> str:
    """How an interrupted command goes on."""
    if arguments[:1] == ["train"]:
        again = shlex.join(["monge", *arguments, *(["--resume"] if "--resume" not in arguments else [])])
        return f"Interrupted: what was learned up to the last checkpoint is kept, and `{again}` goes on from there."
    if arguments[:1] == ["pairwise"] and any(
        argument.lower().endswith(".npy") for argument in _value("--out", arguments)
    ):
        again = shlex.join(["monge", *(a for a in arguments if a not in ("--force", "--resume")), "--resume"])
        return f"Interrupted: the distances that were found are kept, and `{again}` goes on from there."
    return "Interrupted: no file was left half-written; run the same command again."
