"""Tables of numbers in CSV; every complaint names the row and the column."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from monge._reading import Budget, lines_of
from monge.errors import InputError

_SEPARATORS = (",", ";", "\t")


def read_csv(path: Path) -> np.ndarray:
    """The numbers of a table (rows, columns), separated by commas, semicolons or tabs.

    The first row is a header if none of its cells is a number. Everything else must be numbers, equally many in every
    row; empty rows may follow at the end.
    """
    budget, numbers, width, blank = Budget(), array("d"), 0, None
    for row, cells in _rows(path):
        if not cells:
            blank = blank or row
            continue
        if blank is not None:
            raise InputError(f"row {blank} is empty: fill or drop it")
        if not width:
            width = len(cells)
            if _is_header(cells):
                continue
        if len(cells) != width:
            raise InputError(f"row {row} has {_columns(len(cells))}, but the first row has {_columns(width)}")
        # An array that grows is copied to a larger place.
        budget.take(3 * numbers.itemsize * width)
        numbers.extend(_numbers(row, cells))
    if not width:
        raise InputError("it is empty, or starts with an empty line")
    return np.frombuffer(numbers, dtype=np.float64).reshape(-1, width) if numbers else np.empty((0, width))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The numbers of the rows, from 1, and their cells."""
    lines = (line for _, line in lines_of(path))
    first = next(lines, "")
    if not first.strip():
        raise InputError("it is empty, or starts with an empty line")
    separator = next((mark for mark in _SEPARATORS if mark in first), ",")
    rows = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True, skipinitialspace=True)
    for row in itertools.count(1):
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"row {row} cannot be taken apart into columns: look at its quotation marks") from error
        yield row, [] if len(cells) == 1 and not cells[0].strip() else cells


def _is_header(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells) and all(_number(cell) is None for cell in cells)


def _numbers(row: int, cells: list[str]) -> list[float]:
    # The row as a whole first, since nearly all rows are in order; cell by cell only to say what is not.
    with suppress(ValueError):
        numbers, text = list(map(float, cells)), "".join(cells)
        if text.isascii() and "_" not in text and all(map(math.isfinite, numbers)):
            return numbers
    numbers = []
    for column, cell in enumerate(cells, start=1):
        number, held = _number(cell), cell.strip()
        where, told = f"row {row}, column {column}", held if len(held) <= 40 else held[:37] + "..."
        if number is None:
            raise InputError(f"{where} holds {told!r}, which is no number" if held else f"{where} is empty")
        if not math.isfinite(number):
            raise InputError(f"{where} must hold neither NaN nor inf, but holds {told}: fill or drop it")
        numbers.append(number)
    return numbers


def _number(cell: str) -> float | None:
    # Python would also take 1_000, and digits of other scripts.
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _columns(count: int) -> str:
    return f"{count} column{'s' if count > 1 else ''}"
