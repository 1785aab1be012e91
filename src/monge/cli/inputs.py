"""What the command reads: points and weights in files or from standard input, and settings in words."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monge._checks import check_choice
from monge._reading import Budget
from monge.data import read_points, read_weights
from monge.errors import InputError, ShapeError, TransportError
from monge.problem import relative

from . import console

__all__ = ["epsilon_of", "read_clouds", "read_masses"]

_STDIN = "-"
# The first bytes of a file tell its format; a table in text has none of its own.
_MAGIC = {b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz", b"PAR1": ".parquet"}
_PIECE = 2**20


def read_clouds(dtype: str, paths: dict[str, str], others: tuple[str | None, ...] = ()) -> list[Tensor]:
    """The clouds of several files, all in one space.

    Args:
        dtype: The name of their dtype.
        paths: Files by what they are called in messages; ``-`` is standard input, which can be read only once.
        others: Files that will be read later.
    """
    check_choice("--dtype", dtype, ("float32", "float64"))
    count = [*paths.values(), *others].count(_STDIN)
    if count > 1:
        raise InputError(f"Only one input may be -, standard input, but {count} are: save the others in files.")
    clouds: dict[str, Tensor] = {}
    for name, path in paths.items():
        with _given(name, path) as file:
            clouds[name] = read_points(file, dtype=getattr(torch, dtype))
    first, *rest = clouds
    for name in rest:
        if clouds[first].shape[1] != clouds[name].shape[1]:
            raise ShapeError(
                f"{first} and {name} must have equally many columns, but {paths[first]} has {clouds[first].shape[1]} "
                f"and {paths[name]} has {clouds[name].shape[1]}: drop or add coordinates."
            )
    return list(clouds.values())


def read_masses(name: str, path: str | None, points: Tensor, normalise: bool) -> Tensor | None:
    """The weights of points, None if there is no file of them."""
    if path is None:
        return None
    with _given(name, path) as file:
        weights = read_weights(file, len(points), dtype=points.dtype)
    return weights / weights.sum() if normalise else weights


def epsilon_of(text: str) -> Any:
    """``0.05`` or ``relative:0.05``."""
    name, colon, number = text.rpartition(":")
    try:
        parsed = float(number)
    except ValueError:
        parsed = float("nan")
    if name not in ("", "relative") or bool(colon) != bool(name) or not 0 <= parsed < float("inf"):
        raise InputError(
            f"--epsilon {text} must be a non-negative number or relative:FRACTION, as in 0.05, relative:0.05 or 0."
        )
    return relative(parsed) if name and parsed > 0 else parsed


@contextmanager
def _given(name: str, path: str) -> Iterator[str]:
    """The path of a file, or of a copy of standard input; which of several arrays was taken becomes a note."""
    with console.heard("monge.data", f"{name}: "):
        if path != _STDIN:
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield str(_copied(Path(folder)))
            except TransportError as error:
                # Nobody but us knows the copy.
                raise type(error)(str(error).replace(folder + os.sep, "")) from error


def _copied(folder: Path) -> Path:
    """Standard input as a file, whose ending follows from its first bytes."""
    if sys.stdin.isatty():
        raise InputError("- reads standard input, which is a terminal here: pipe a file into it, as in `... < x.csv`.")
    stream, budget = sys.stdin.buffer, Budget()
    piece = stream.read(_PIECE)
    ending = next((ending for magic, ending in _MAGIC.items() if piece.startswith(magic)), ".csv")
    path = folder / f"stdin{ending}"
    with path.open("wb") as file:
        while piece:
            budget.take(len(piece))
            file.write(piece)
            piece = stream.read(_PIECE)
    return path
