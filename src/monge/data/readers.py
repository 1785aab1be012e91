"""Point clouds and weights from files; a file is only data, and nothing in it is ever executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_points, check_weights
from monge._reading import Budget, refused
from monge.errors import InputError

from ._parsers import PARSERS

__all__ = ["FORMATS", "read_points", "read_weights"]

FORMATS = PARSERS
"""Functions that read a file, given its path and the name of an array in it or None, by the ending of its name."""


def read_points(path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n d"]:
    """Read a point cloud: a row is a point, and a column is a coordinate; a list of numbers is points on a line.

    The formats are ``.npy``, ``.npz``, ``.csv`` (comma, semicolon or tab; a first row without a number is skipped),
    ``.parquet`` (with pyarrow) and ``.pt``. If a file holds several arrays, name one, as in ``clouds.npz:source``;
    without a name, the only array is taken, or that of points, called ``x`` or ``points``, or else that of weights,
    called ``weights`` or ``a``, and the logger ``monge.data`` tells which one it was; a file with both names of a kind
    is refused. Nothing is unpickled, archives are compared with their checksums, and reading takes at most 4 GiB,
    copies included.

    Args:
        path: The file, possibly followed by ``:`` and the name of an array in it.
        dtype: The floating dtype of the answer.

    Returns:
        The points.

    Raises:
        InputError: If the file is missing, broken, of an unknown format, or holds anything but finite numbers.

    Example:
        >>> import numpy, torch
        >>> from monge.data import read_points
        >>> numpy.save("cloud.npy", numpy.eye(3))
        >>> read_points("cloud.npy", dtype=torch.float32)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    held = _read(path, dtype)
    points = held[:, None] if held.ndim == 1 else held
    if points.ndim != 2:
        raise InputError(f"{path} must hold a table of points (n, d), but holds shape {tuple(held.shape)}: reshape it.")
    check_points(str(path), points)
    return points


def read_weights(path: str | os.PathLike[str], n: int, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n"]:
    """Read the weights of ``n`` points: one non-negative number for each point, with any positive sum.

    The formats are those of `read_points`.

    Args:
        path: The file, possibly followed by ``:`` and the name of an array in it.
        n: How many points there are.
        dtype: The floating dtype of the answer.

    Returns:
        The weights, as they are in the file.

    Raises:
        InputError: If the file cannot be read, or does not hold ``n`` valid weights.

    Example:
        >>> import torch
        >>> from monge.data import read_weights
        >>> torch.save(torch.tensor([0.25, 0.75]), "weights.pt")
        >>> read_weights("weights.pt", 2)
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    held = _read(path, dtype)
    weights = held[:, 0] if held.ndim == 2 and held.shape[1] == 1 else held
    if weights.ndim != 1:
        raise InputError(
            f"{path} must hold one weight per point ({n},), but holds shape {tuple(held.shape)}: flatten it."
        )
    check_weights(str(path), weights, n)
    return weights


def _read(path: str | os.PathLike[str], dtype: torch.dtype) -> Tensor:
    """The one array that a path names, as a tensor of real numbers."""
    file, key = _split(path)
    if not file.exists():
        raise InputError(f"{file} does not exist: check the path, here relative to {Path.cwd()}.")
    if not file.is_file():
        raise InputError(f"{file} is not a regular file: pass a file that ends in {', '.join(FORMATS)}.")
    if file.suffix.lower() not in FORMATS:
        raise InputError(f"{file} ends in {file.suffix or 'nothing'!r}: the formats known are {', '.join(FORMATS)}.")
    parse = FORMATS[file.suffix.lower()]
    with refused(f"{file} cannot be used: ", damaged=f"it is not a readable {file.suffix} file; write it again"):
        return _as_tensor(parse(file, key), dtype)


def _split(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """``clouds.npz:source`` is the array ``source`` of the file ``clouds.npz``; an existing file is taken as it is."""
    whole = Path(path)
    name, colon, key = os.fspath(path).rpartition(":")
    if colon and key and not whole.exists() and Path(name).suffix.lower() in {".npz", ".pt"}:
        return Path(name), key
    return whole, None


def _as_tensor(held: Any, dtype: torch.dtype) -> Tensor:
    """The numbers of a parser in the dtype that was asked for."""
    if isinstance(held, np.ndarray):
        if held.dtype.kind not in "fiub":
            raise InputError(f"it holds {held.dtype}, not real numbers")
        _check_room(held.size, held.itemsize, dtype)
        # torch insists on native bytes, in order and its own to write to.
        native = held.dtype.newbyteorder("=")
        held = torch.from_numpy(np.require(held, dtype=native, requirements=["C", "A", "W"]))
    else:
        _check_room(held.numel(), held.element_size(), dtype)
    if held.is_complex() or held.is_sparse or held.is_quantized:
        raise InputError(f"it holds a tensor of {held.dtype}, {held.layout}; save plain real numbers")
    return held.to(dtype)


def _check_room(count: int, itemsize: int, dtype: torch.dtype) -> None:
    """There must be room for the numbers as they are, a copy in order, the wider ones, and a look at all of those."""
    Budget().take(count * (2 * itemsize + 2 * dtype.itemsize + 2))
