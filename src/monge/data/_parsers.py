"""One parser a file format: a path in, a NumPy array or a tensor out, and never a pickle executed.

A parser may raise anything; `read_points` and `read_weights` turn that into one sentence.
"""

from __future__ import annotations

import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from monge.errors import InputError
from monge.registry import Registry

__all__ = ["PARSERS", "in_one_line", "read_array"]

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def in_one_line(error: Exception, limit: int = 160) -> str:
    """What went wrong, short enough to stand in a sentence."""
    told = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return told if len(told) <= limit else told[: limit - 3] + "..."


def read_array(stream: IO[bytes], size: int) -> np.ndarray:
    """An array in NumPy's format from a stream that holds ``size`` bytes.

    The header is compared with the size before anything is allocated: a forged one may promise petabytes.
    """
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise InputError(f"it is in version {version} of the format; save plain numbers with numpy.save")
    shape, _, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are never unpickled; save plain numbers")
    promised, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if promised > held:
        raise InputError(f"its header promises {promised} bytes but {held} follow: the file is cut short or forged")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if promised > memory:
        raise InputError(f"it unpacks to {promised} bytes, more than the {memory} of this machine's memory")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _read_npy(path: Path, key: str | None) -> np.ndarray:
    with path.open("rb") as stream:
        return read_array(stream, path.stat().st_size)


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        info = members[_chosen(members, key)]
        with archive.open(info) as stream:
            return read_array(stream, info.file_size)


def _read_csv(path: Path, key: str | None) -> np.ndarray:
    with path.open(encoding="utf-8-sig") as stream:
        first = stream.readline()
    if not first.strip():
        raise InputError("it is empty, or starts with an empty line")
    separator = next((mark for mark in (",", ";", "\t") if mark in first), ",")
    try:
        [float(cell) for cell in first.split(separator)]
        header = 0
    except ValueError:
        header = 1
    return np.loadtxt(path, delimiter=separator, skiprows=header, ndmin=2, encoding="utf-8-sig", dtype=np.float64)


def _read_parquet(path: Path, key: str | None) -> np.ndarray:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError("pyarrow is not installed: pip install 'monge[parquet]'") from error
    # The path is opened here: a name such as s3://bucket must not reach out to the network.
    with path.open("rb") as stream:
        table = parquet.read_table(stream)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise InputError(f"column {name!r} has {column.null_count} missing values: fill or drop them")
        numbers = column.to_numpy()
        if numbers.dtype.kind not in "fiub":
            raise InputError(f"column {name!r} holds {column.type}, not numbers: drop it")
        columns.append(numbers)
    return np.stack(columns, axis=-1) if columns else np.empty((table.num_rows, 0))


def _read_pt(path: Path, key: str | None) -> Any:
    try:
        with warnings.catch_warnings():
            # What torch thinks of a foreign pickle protocol concerns nobody who is told the file is refused.
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError("it is damaged or holds more than plain tensors, which is never unpickled") from error
    if isinstance(held, dict):
        held = held[_chosen(held, key)]
    if not isinstance(held, torch.Tensor):
        raise InputError(f"it holds {type(held).__name__}, not a tensor: save one with torch.save(x, path)")
    return held.detach()


def _chosen(members: dict[str, Any], key: str | None) -> str:
    """The name of the array to take: the one asked for, the only one, or the one called x, points or weights."""
    names = ", ".join(map(repr, members)) or "nothing"
    if key is not None:
        if key not in members:
            raise InputError(f"it holds no array {key!r}, only {names}")
        return key
    usual = [name for name in ("x", "points", "weights", "a") if name in members]
    if len(members) == 1 or usual:
        return usual[0] if usual else next(iter(members))
    raise InputError(f"it holds {names}: name one, as in file.npz:NAME")


PARSERS: Registry[Callable[[Path, str | None], Any]] = Registry("format")
PARSERS.register(".npy", _read_npy, "One array of NumPy.")
PARSERS.register(".npz", _read_npz, "Several arrays of NumPy; file.npz:NAME picks one.")
PARSERS.register(".csv", _read_csv, "A table as text, with comma, semicolon or tab, with or without a header.")
PARSERS.register(".parquet", _read_parquet, "A table in columns, read by pyarrow.")
PARSERS.register(".pt", _read_pt, "Tensors of torch; file.pt:NAME picks one.")
