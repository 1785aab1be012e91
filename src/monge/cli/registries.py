"""``monge list``: what can be chosen by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from monge._checks import check_choice
from monge.data import FORMATS
from monge.geometry import COSTS
from monge.nn.couplers import COUPLERS
from monge.papers import SHELVES
from monge.problem import PENALTIES
from monge.registry import Registry
from monge.sequences import POOLINGS, RECIPES
from monge.solver import SOLVERS

from . import console

__all__ = ["COMMANDS", "REGISTRIES", "registries"]

COMMANDS: Registry[Callable[..., None]] = Registry("command")
"""Functions of typer by the name of their subcommand; another distribution adds to them in ``monge.commands``."""

REGISTRIES: dict[str, Registry[Any]] = {
    held.plural: held for held in (COSTS, PENALTIES, SOLVERS, COUPLERS, POOLINGS, RECIPES, FORMATS, SHELVES, COMMANDS)
}
"""Everything that is chosen by name, by what several of a kind are called."""


def registries(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(REGISTRIES)}; all if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print lists for programs instead of people.")] = False,
) -> None:
    """List what can be chosen by name, and what each is; packages that add to it are imported, broken ones told."""
    if kind is not None:
        check_choice("KIND", kind, REGISTRIES)
    shown = REGISTRIES if kind is None else {kind: REGISTRIES[kind]}
    faults = {name: held.faults() for name, held in shown.items()}
    if as_json:
        told = {
            name: {"names": {one: held.sentence(one) for one in held}, "faults": faults[name]}
            for name, held in shown.items()
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for name, held in shown.items():
        console.answer(console.table(name, [(one, re.sub(r"[`$]", "", held.sentence(one))) for one in held]))
    for fault in (fault for found in faults.values() for fault in found.values()):
        console.note(fault)
