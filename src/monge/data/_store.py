"""Generated tasks on disk: written whole or not at all, and checked when they are read back."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
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
    with _writing(path):
        # A folder that cannot be written to is told before the work, not after.
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    task = Task(**dict(zip(PARTS, make(), strict=True)), **facts)
    with _writing(path):
        _write(path, task)
    return task


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = error.strerror or error
        raise InputError(f"{path} cannot be written ({told}): free some space, or choose another folder.") from error


def _write(path: Path, task: Task) -> None:
    """Under another name first: a kill at any moment leaves no half file that looks like a whole one."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for part in PARTS:
                    split: Split = getattr(task, part)
                    for what, held in (("tokens", split.tokens), ("labels", split.labels)):
                        with archive.open(f"{part}_{what}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, held.numpy(), allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


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
