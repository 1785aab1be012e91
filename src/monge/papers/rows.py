"""The papers of this distribution (``rows.csv``), and the catalogue of those that Monge is planned to cover."""

from __future__ import annotations

import csv
from pathlib import Path

from monge._checks import check_choice

from .paper import Paper

__all__ = ["CATALOGUE", "PAPERS", "catalogued"]


def _table(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


CATALOGUE = {row["key"]: row for row in _table("catalogue.csv")}
"""Key, title, arXiv number and group of every paper that Monge is planned to cover, by its key."""


def catalogued(key: str, *, implements: str, example: str, test: str) -> Paper:
    """A paper of the catalogue, which knows its title, its number and its group.

    Args:
        key: One of `CATALOGUE`.
        implements: See `Paper`.
        example: See `Paper`.
        test: See `Paper`.

    Raises:
        InputError: If the catalogue has no such key.

    Example:
        >>> from monge.papers import catalogued
        >>> catalogued("lcot", implements="ours.lcot", example="ours.examples.lcot", test="tests/test_lcot.py").arxiv
        '2310.06002'
    """
    check_choice("key", key, CATALOGUE)
    return Paper(**CATALOGUE[key], implements=implements, example=example, test=test)


PAPERS = tuple(catalogued(**row) for row in _table("rows.csv"))
