"""``monge cite``: whom to cite for a method, or for the library."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from monge.api import citation
from monge.errors import InputError

from . import console

__all__ = ["cite"]


def cite(
    name: Annotated[
        str | None,
        typer.Argument(help="A solver or function, such as Sinkhorn or divergence; the library itself if none."),
    ] = None,
) -> None:
    """Print the publications behind a method, as BibTeX."""
    console.answer(citation(None if name is None else _find(name)))


def _find(name: str) -> Any:
    """The public thing of that name, whatever its case; the first room that has it wins."""
    import monge
    from monge import coupling, geometry, nn, problem, sliced, solver

    faces = (sliced.partial, sliced.sphere, sliced.plan, sliced.gromov)
    rooms = (monge, solver, sliced, *faces, nn, problem, geometry, coupling)
    known = {public.lower(): getattr(room, public) for room in reversed(rooms) for public in room.__all__}
    if name.lower() not in known:
        close = sorted(public for public in known if name.lower()[:4] in public)
        hint = f"did you mean {', '.join(close[:5])}?" if close else "try Sinkhorn, Newton or divergence."
        raise InputError(f"{name!r} is not a public name of Monge: {hint}")
    return known[name.lower()]
