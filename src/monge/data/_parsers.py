"""One parser a file format: a path in, a NumPy array or a tensor out, and never a pickle executed.

A parser may raise anything; `read_points` and `read_weights` turn that into one sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monge._reading import Budget, open_archive, open_file, read_array, read_file, read_tensors, refused
from monge.errors import InputError
from monge.registry import Registry

from ._csv import read_csv
from ._pages import unpacked_bytes

_log = logging.getLogger("monge.data")
# The names under which an array is taken without being asked for: those of points, then those of weights.
_USUAL = (("x", "points"), ("weights", "a"))
_ROWS_AT_ONCE = 2**16
# Bytes of a number.
_WIDEST = 8


def _read_npy(path: Path, key: str | None) -> np.ndarray:
    return read_array(read_file(path, Budget()))


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    with open_archive(path, Budget()) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.names}
        name = _chosen(members, key)
        return _told(path, name, members, read_array(archive.read(members[name])))


def _read_csv(path: Path, key: str | None) -> np.ndarray:
    with refused("it is not a readable .csv file (", "); write it again"):
        return read_csv(path)


def _read_parquet(path: Path, key: str | None) -> np.ndarray:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError("pyarrow is not installed: pip install 'monge[parquet]'") from error
    # The path is opened here: a name such as s3://bucket must not reach out to the network.
    with open_file(path) as (stream, _):
        file = parquet.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)
        rows, schema = file.metadata.num_rows, file.schema_arrow
        # What is no number is refused before it is unpacked: texts that repeat take next to no space in a file.
        for field in schema:
            if _dtype_of(field.type) is None:
                raise InputError(f"column {field.name!r} holds {field.type}, not numbers: drop it")
        dtype = np.result_type(*(_dtype_of(field.type) for field in schema)) if len(schema) else np.dtype(float)
        budget = Budget()
        budget.take(rows * len(schema) * dtype.itemsize + _unpacked(stream, file.metadata, rows))
        table, done = np.empty((rows, len(schema)), dtype=dtype), 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            if done + len(batch) > rows:
                raise InputError(f"it promises {rows} rows, but more follow")
            for k, (name, column) in enumerate(zip(schema.names, batch.columns, strict=True)):
                if column.null_count:
                    missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
                    raise InputError(
                        f"column {name!r} has {len(missing)} missing values from row {done + missing[0] + 1} on: "
                        "fill or drop them"
                    )
                table[done : done + len(batch), k] = column.to_numpy(zero_copy_only=False)
            done += len(batch)
    if done != rows:
        raise InputError(f"it promises {rows} rows, but {done} follow")
    return table


def _unpacked(stream: BufferedReader, metadata: Any, rows: int) -> int:
    """What the largest group of rows takes, twice: what its pages unpack to, and its values in batches."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    # Arrow ends the process if it is asked for a column that is not in the schema.
    if any(group.num_columns != metadata.num_columns for group in groups):
        raise InputError("its groups of rows have other columns than its schema")
    columns = [[group.column(k) for k in range(group.num_columns)] for group in groups]
    told = [[group.num_rows, *(each.num_values for each in held)] for group, held in zip(groups, columns, strict=True)]
    if sum(group.num_rows for group in groups) != rows or any(min(each) < 0 or len(set(each)) > 1 for each in told):
        raise InputError(f"it promises {rows} rows, but its columns have more or fewer")
    sizes = [sum(unpacked_bytes(stream, column, _WIDEST) for column in held) for held in columns]
    batch = min(rows, _ROWS_AT_ONCE) * _WIDEST * metadata.num_columns
    return 2 * max(sizes, default=0) + batch


def _dtype_of(kind: Any) -> np.dtype | None:
    """The dtype of a column of Arrow, None if it does not hold numbers."""
    try:
        dtype = np.dtype(kind.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        return None
    return dtype if dtype.kind in "fiub" else None


def _read_pt(path: Path, key: str | None) -> Any:
    held = read_tensors(path, Budget())
    if isinstance(held, dict):
        name = _chosen(held, key)
        held = _told(path, name, held, held[name])
    if not isinstance(held, torch.Tensor):
        raise InputError(f"it holds {type(held).__name__}, not a tensor: save one with torch.save(x, path)")
    return held


def _chosen(members: dict[str, Any], key: str | None) -> str:
    """The name of the array to take: the one asked for, the only one, or the one of a usual name."""
    names = ", ".join(map(repr, members)) or "nothing"
    if key is not None:
        if key not in members:
            raise InputError(f"it holds no array {key!r}, only {names}")
        return key
    kinds = ([name for name in kind if name in members] for kind in _USUAL)
    usual = next(filter(None, kinds), [])
    if len(members) == 1 or len(usual) == 1:
        return next(iter(usual or members))
    told = f"{names}, and {' and '.join(map(repr, usual))} could both be meant" if usual else names
    raise InputError(f"it holds {told}: name one, as in file.npz:{usual[0] if usual else 'NAME'}")


def _told(path: Path, name: str, members: dict[str, Any], held: Any) -> Any:
    """The array; where there were others, a record says which one it is."""
    if len(members) > 1:
        _log.info("%s, array %r (%s)", path.name, name, " x ".join(map(str, getattr(held, "shape", ()))))
    return held


PARSERS: Registry[Callable[[Path, str | None], Any]] = Registry("format")
PARSERS.register(".npy", _read_npy, "One array of NumPy.")
PARSERS.register(".npz", _read_npz, "Several arrays of NumPy; file.npz:NAME picks one.")
PARSERS.register(".csv", _read_csv, "A table as text, with comma, semicolon or tab, with or without a header.")
PARSERS.register(".parquet", _read_parquet, "A table in columns, read by pyarrow.")
PARSERS.register(".pt", _read_pt, "Tensors of torch; file.pt:NAME picks one.")
