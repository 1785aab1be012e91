"""``monge cite``: what to cite."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import citation
from . import console

__all__ = ["cite"]


def cite(
    name: Annotated[str | None, typer.Argument(help="A method, such as Sinkhorn; the library if left out.")] = None,
) -> None:
    """Print the reference to cite for a method."""
    console.answer(citation(name) if name else citation("monge"))
