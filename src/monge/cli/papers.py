"""``monge papers``: which published methods can be run, how, and whether they still hold."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Sequence
from typing import Annotated

import typer

from monge._checks import check_choice
from monge.errors import InputError
from monge.papers import CATALOGUE, Paper
from monge.papers import papers as registered

from . import console
from .cite import cited

__all__ = ["papers"]


def papers(
    key: Annotated[str | None, typer.Argument(help="One paper: its example in full, and what to cite.")] = None,
    group: Annotated[str | None, typer.Option(help="Only papers of this group, such as attention.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Run the examples, which assert equations.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list for programs instead of people.")] = False,
) -> None:
    """List the papers that can be run: what implements each, an example, and the test that verifies it."""
    rows = _chosen(key, group)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(paper) for paper in rows], indent=2, ensure_ascii=False))
    elif check:
        _run(rows)
    elif key is not None:
        _show(rows[0])
    else:
        for paper in rows:
            _head(paper)
            # A line that was folded could not be copied.
            typer.echo(f"  {_line(paper)}\n")
        covered = CATALOGUE.keys() & {paper.key for paper in registered()}
        typer.echo(
            f"Of the {len(CATALOGUE)} papers of the catalogue, {len(covered)} are here. `monge papers KEY` shows one."
        )


def _chosen(key: str | None, group: str | None) -> Sequence[Paper]:
    rows = registered()
    if key is not None:
        check_choice("KEY", key, [paper.key for paper in rows])
    if group is not None:
        check_choice("--group", group, sorted({paper.group for paper in rows}))
    chosen = [paper for paper in rows if key in (None, paper.key) and group in (None, paper.group)]
    if not chosen:
        raise InputError(f"The paper {key!r} is not of the group {group!r}: leave one of them out.")
    return chosen


def _head(paper: Paper) -> None:
    typer.secho(f"{paper.key}  {paper.title}, arXiv {paper.arxiv}", bold=True)
    typer.secho(f"  {paper.implements}", fg="cyan")


def _line(paper: Paper) -> str:
    return f"python -m {paper.example}" if paper.kind == "method" else f"a page of the documentation, {paper.example}"


def _show(paper: Paper) -> None:
    _head(paper)
    typer.echo(f"  {paper.test}\n\n{_line(paper)}\n")
    if paper.kind == "method":
        typer.echo(paper.script.read_text(encoding="utf-8"))
    typer.echo(cited(paper))


def _run(rows: Sequence[Paper]) -> None:
    """Every example, in this process; what does not hold is told at the end, by exit code 1."""
    methods, broken = [paper for paper in rows if paper.kind == "method"], []
    for paper in methods:
        typer.secho(paper.key, bold=True)
        try:
            runpy.run_path(str(paper.script), run_name="__main__")
        except Exception as error:  # noqa: BLE001 - whatever an example raises is told, and the others run
            broken.append(paper.key)
            console.complain(f"{paper.example} does not hold ({type(error).__name__}: {error}).")
    if broken:
        console.complain(f"{len(broken)} of {len(methods)} examples do not hold: {', '.join(broken)}.")
        raise typer.Exit(1)
    typer.echo(f"{len(methods)} of {len(methods)} examples hold.")
