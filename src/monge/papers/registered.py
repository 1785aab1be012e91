"""Rows of every distribution that is installed."""

from __future__ import annotations

from collections.abc import Sequence

from monge.errors import InputError
from monge.registry import Registry

from .paper import Paper
from .rows import PAPERS

__all__ = ["SHELVES", "papers"]


def _papers_only(name: str, shelf: object) -> None:
    rows = shelf if isinstance(shelf, Sequence) and not isinstance(shelf, str) else (shelf,)
    for row in rows:
        if not isinstance(row, Paper):
            raise InputError(
                f"{name!r} of monge.papers must name a sequence of monge.papers.Paper, but holds {row!r}: wrap each "
                "row in Paper(...)."
            )


SHELVES: Registry[Sequence[Paper]] = Registry("paper", check=_papers_only)
"""The papers of each distribution, by its name."""
SHELVES.register("monge", PAPERS, "The papers that stand in Monge itself.")


def papers() -> tuple[Paper, ...]:
    """All papers that can be run, oldest first.

    Another distribution adds rows by an entry point of the group ``monge.papers`` that names a sequence of `Paper`:

    .. code-block:: toml

        [project.entry-points."monge.papers"]
        ours = "ours.method:PAPERS"

    Raises:
        InputError: A key is there twice.

    Warns:
        ExtensionWarning: An entry point holds something else, or cannot be imported; its rows are left out.

    Example:
        >>> from monge.papers import papers
        >>> next(paper.implements for paper in papers() if paper.key == "lotformer")
        'monge.nn.couplers.EntropicPivots'
    """
    rows: dict[str, Paper] = {}
    for _, shelf in SHELVES.items():
        for paper in shelf:
            if paper.key in rows:
                raise InputError(
                    f"The papers {rows[paper.key].title!r} and {paper.title!r} share the key {paper.key!r}: "
                    "give one of them another key."
                )
            rows[paper.key] = paper
    return tuple(sorted(rows.values(), key=lambda paper: paper.arxiv))
