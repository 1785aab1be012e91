"""``monge papers``: which published methods can be run, and how."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from monge.errors import InputError
from monge.papers import papers as registered

__all__ = ["papers"]


def papers(
    where: Annotated[str, typer.Option(help="Only rows of this module and of those inside it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list for programs instead of people.")] = False,
) -> None:
    """List the papers that can be run: number, arXiv, title, module, and a line for the shell."""
    rows = dict(enumerate(registered(), 1))
    inside = f"{where}." if where else ""
    shown = {number: paper for number, paper in rows.items() if f"{paper.where}.".startswith(inside)}
    if not shown:
        known = ", ".join(sorted({paper.where for paper in rows.values()}))
        raise InputError(f"--where {where} holds no paper: choose one of {known}.")
    if as_json:
        told = [{"number": number, **dataclasses.asdict(paper)} for number, paper in shown.items()]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for number, paper in shown.items():
        typer.secho(f"{number:>3}  {paper.arxiv}  {paper.title}", bold=True)
        typer.secho(f"     {paper.where}", fg="cyan")
        # A line that was folded could not be copied.
        typer.echo(f"     {paper.line}\n")
