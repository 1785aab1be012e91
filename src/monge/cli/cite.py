"""``monge cite``: whom to cite for a method, a paper, or the library."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer

from monge.api import citation
from monge.api.citation import Reference
from monge.errors import InputError
from monge.nn.couplers import COUPLERS
from monge.papers import Paper
from monge.papers import papers as registered

__all__ = ["cite", "cited"]


def cite(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A solver, function, coupler or paper, such as Sinkhorn, divergence, pivots or lotformer; "
            "the library itself if none."
        ),
    ] = None,
) -> None:
    """Print the publications behind a method, as BibTeX."""
    typer.echo(citation() if name is None else cited(_find(name)))


def cited(thing: Any) -> str:
    """BibTeX for a public thing, or the one entry of a paper, as the documentation of what implements it has it."""
    if not isinstance(thing, Paper):
        return citation(thing)
    row = Reference("", thing.title, f"20{thing.arxiv[:2]}", thing.arxiv, "").bibtex()
    if thing.kind == "page":
        return row
    implementation, entries = thing.implementation, []
    with suppress(InputError):  # its documentation may name no source; the row has a title and a number
        entries = citation(implementation).split("\n\n")
    return next((entry for entry in entries if f"{{{thing.arxiv}}}" in entry), row)


def _find(name: str) -> Any:
    """A public thing, a coupler or a paper of that name, whatever its case; the first that has it wins."""
    import monge
    from monge import coupling, geometry, nn, problem, sliced, solver

    papers = registered()
    modules = sorted({paper.module for paper in papers if paper.kind == "method"})
    rooms = (monge, solver, sliced, *map(import_module, modules), nn, problem, geometry, coupling)
    known: dict[str, Any] = {paper.key: paper for paper in papers} | dict(COUPLERS.items())
    known |= {
        public.lower(): getattr(room, public) for room in reversed(rooms) for public in getattr(room, "__all__", ())
    }
    if name.lower() not in known:
        close = sorted(public for public in known if name.lower()[:4] in public)
        hint = f"did you mean {', '.join(close[:5])}?" if close else "try Sinkhorn, Newton or divergence."
        raise InputError(f"{name!r} is not a public name of Monge, nor a coupler or a paper: {hint}")
    return known[name.lower()]
