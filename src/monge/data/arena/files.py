"""Where the files of the Long Range Arena are, and the errors if they are missing."""

from __future__ import annotations

from pathlib import Path

from monge.errors import InputError

__all__ = ["found", "rows_of"]


def found(root: Path, *places: str) -> Path:
    """The first of the ``places`` that exists, in the folder or in that of the release within it."""
    for base in (root, root / "lra_release", root / "lra_release" / "lra_release"):
        for place in places:
            if (base / place).exists():
                return base / place
    told = " or ".join(places)
    raise InputError(f"{root} holds no {told}: unpack the release of the Long Range Arena there, or pass its folder.")


def rows_of(path: Path, columns: int):
    """The number and the cells of each line of a table with tabs; a cell may be in double quotes."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != columns:
                raise InputError(
                    f"{path}, line {number}: {columns} columns separated by tabs are expected, but there are "
                    f"{len(cells)}: fetch the file anew."
                )
            yield number, [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
