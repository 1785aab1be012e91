"""Generated tasks on disk: written whole or not at all, and checked when they are read back."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from monge._files import check_destination, make_folder, write_whole
from monge.errors import InputError

from ._parsers import read_array
from .task import Split, Task

__all__ = ["stored"]

PARTS = ("train", "valid", "test")


def stored(
    folder: str | os.PathLike[str] | None,
    key: tuple[int, ...],
    make: Callable[[], tuple[Split, Split, Split]],
    *,
    name: str,
    **facts: Any,
) -> Task:
    """The task whose parts are in the folder, made and written there if they are not; no folder, no file.

    ``key`` is all that the parts depend on, and goes into the name of the file, so that a file never goes stale.
    ``facts`` are the other fields of the task.
    """
    facts["name"] = name
    if folder is None:
        return Task(**dict(zip(PARTS, make(), strict=True)), **facts)
    path = Path(folder) / f"{name}-{'-'.join(map(str, key))}.npz"
    if path.exists():
        return _read(path, facts)
    # A folder that cannot be written to is told before the work, not after.
    make_folder(path.parent)
    check_destination(path, "folder", (".npz",))
    task = Task(**dict(zip(PARTS, make(), strict=True)), **facts)
    write_whole(path, lambda stream: _write(stream, task))
    return task


def _write(stream: IO[bytes], task: Task) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part in PARTS:
            split: Split = getattr(task, part)
            for what, held in (("tokens", split.tokens), ("labels", split.labels)):
                with archive.open(f"{part}_{what}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, held.numpy(), allow_pickle=False)


def _read(path: Path, facts: dict[str, Any]) -> Task:
    try:
        with zipfile.ZipFile(path) as archive:

            def tensor(name: str) -> torch.Tensor:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as stream:
                    held = read_array(stream, info.file_size)
                    # To the end, where the checksum of the member is compared.
                    stream.read()
                return torch.from_numpy(held)

            parts = {part: Split(tensor(f"{part}_tokens"), tensor(f"{part}_labels")) for part in PARTS}
        return Task(**parts, **facts)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} is not a task as it was written ({told}): delete it, and it is made anew.") from error
