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
from torch import Tensor

from monge._checks import check_count
from monge._files import check_destination, make_folder, write_whole
from monge.errors import InputError

from ._parsers import in_one_line, read_array
from .task import Progress, Split, Task

__all__ = ["stored", "untold"]


def untold(done: int, total: int) -> None:
    """The progress that nobody asked for."""


def stored(
    folder: str | os.PathLike[str] | None,
    make: Callable[[int, int, Progress], tuple[Tensor, Tensor]],
    *key: int,
    counts: tuple[int, int, int],
    seed: int,
    progress: Progress | None,
    **facts: Any,
) -> Task:
    """The task whose parts are in the folder, made and written there if they are not; no folder, no file.

    ``make`` answers tokens and labels, as many as it is told, from a seed. The first are to test, the next to validate.
    ``key`` is all else that they depend on, and goes into the name of the file, so that a file never goes stale.
    ``facts`` are the other fields of the task.
    """
    if len(counts) != 3:
        raise InputError(f"counts must be three numbers, to train, to validate and to test, but are {counts!r}.")
    for part, count in enumerate(counts):
        check_count(f"counts[{part}]", count)
    check_count("seed", seed, low=0)

    def made() -> Task:
        sizes = list(reversed(counts))
        tokens, labels = (held.split(sizes) for held in make(sum(counts), seed, progress or untold))
        test, valid, train = map(Split, tokens, labels)
        return Task(train=train, valid=valid, test=test, **facts)

    if folder is None:
        return made()
    path = Path(folder) / f"{facts['name']}-{'-'.join(map(str, (*key, *counts, seed)))}.npz"
    if path.exists():
        return _read(path, facts)
    # A folder that cannot be written to is told before the work, not after.
    make_folder(path.parent)
    check_destination(path, "folder", (".npz",))
    task = made()
    write_whole(path, lambda stream: _write(stream, task))
    return task


def _write(stream: IO[bytes], task: Task) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part, split in task.parts.items():
            for what, held in vars(split).items():
                with archive.open(f"{part}_{what}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, held.numpy(), allow_pickle=False)


def _read(path: Path, facts: dict[str, Any]) -> Task:
    try:
        with zipfile.ZipFile(path) as archive:

            def tensor(name: str) -> Tensor:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as stream:
                    held = read_array(stream, info.file_size)
                    # To the end, where the checksum of the member is compared.
                    stream.read()
                return torch.from_numpy(held)

            parts = {
                part: Split(tensor(f"{part}_tokens"), tensor(f"{part}_labels")) for part in ("train", "valid", "test")
            }
        return Task(**parts, **facts)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} is not a task as it was written ({in_one_line(error)}): delete it, and it is made anew."
        ) from error
