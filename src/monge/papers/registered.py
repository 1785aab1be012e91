"""Rows of every distribution that is installed."""

from __future__ import annotations

from monge._entry_points import entry_points
from monge.errors import InputError

from .paper import Paper
from .rows import PAPERS

__all__ = ["papers"]


def papers() -> tuple[Paper, ...]:
    """All papers that can be run, oldest first.

    Another distribution adds rows by an entry point of the group ``monge.papers`` that names a sequence of `Paper`:

    .. code-block:: toml

        [project.entry-points."monge.papers"]
        ours = "ours.method:PAPERS"

    Raises:
        InputError: An entry point holds something else, or a key is there twice.

    Example:
        >>> from monge.papers import papers
        >>> next(paper.where for paper in papers() if paper.key == "lotformer")
        'monge.nn'
    """
    rows = {paper.key: paper for paper in PAPERS}
    for name, held in entry_points("monge.papers").items():
        for paper in held:
            if not isinstance(paper, Paper):
                raise InputError(
                    f"The entry point {name!r} of monge.papers must name a sequence of monge.papers.Paper, but "
                    f"holds {paper!r}: wrap each row in Paper(...)."
                )
            if paper.key in rows:
                raise InputError(
                    f"The papers {rows[paper.key].title!r} and {paper.title!r} share the key {paper.key!r}: "
                    "give one of them another key."
                )
            rows[paper.key] = paper
    return tuple(sorted(rows.values(), key=lambda paper: paper.arxiv))
