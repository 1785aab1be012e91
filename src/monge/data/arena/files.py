"""Where the files of the Long Range Arena are, and the errors if they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from monge._reading import Budget, lines_of, refused
from monge.errors import InputError

__all__ = ["BYTES_KEPT", "found", "rows_of"]

BYTES_KEPT = "surrogateescape"


def found(root: Path, *places: str) -> Path:
    """The first of the ``places`` that exists, in the folder or in that of the release within it."""
    for base in (root, root / "lra_release", root / "lra_release" / "lra_release"):
        for place in places:
            if (base / place).exists():
                return base / place
    told = " or ".join(places)
    raise InputError(f"{root} holds no {told}: unpack the release of the Long Range Arena there, or pass its folder.")


def rows_of(path: Path, columns: int, each: int) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line of a table with tabs; a cell may be in double quotes.

    A line will take ``each`` bytes. Bytes that are not UTF-8 come back if they are encoded as they were decoded.
    """
    lines, budget = lines_of(path, BYTES_KEPT), Budget()
    while True:
        with refused(f"{path}: ", ": download the file again."):
            number, line = next(lines, (0, ""))
            budget.take(each)
        if not number:
            return
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != columns:
            raise InputError(
                f"{path}, line {number}: {columns} columns separated by tabs are expected, but there are "
                f"{len(cells)}: download the file again."
            )
        yield number, [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
