"""Generated tasks on disk: written whole or not at all, and checked when they are read back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from monge._checks import check_count, check_seed
from monge._files import check_destination, make_folder, write_whole
from monge._reading import Budget, open_archive, read_array, refused
from monge.errors import InputError

from .task import Progress, Split, Task


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
    check_seed("seed", seed)

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
    with refused(
        f"the task cannot be kept in {path.parent}, since ", ": leave out the folder, or make fewer sequences."
    ):
        # What could not be read back is not written.
        Budget().take(sum(held.nbytes for split in task.parts.values() for held in (split.tokens, split.labels)))
    write_whole(path, lambda stream: _write(stream, task))
    return task


def _write(stream: IO[bytes], task: Task) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part, split in task.parts.items():
            for what, held in vars(split).items():
                with archive.open(f"{part}_{what}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, held.numpy(), allow_pickle=False)


def _read(path: Path, facts: dict[str, Any]) -> Task:
    with refused(f"{path} is not a task as it was written (", "): delete it, and it is made anew."):
        with open_archive(path, Budget()) as archive:

            def tensor(name: str) -> Tensor:
                return torch.from_numpy(read_array(archive.read(f"{name}.npy"), "iu"))

            parts = {
                part: Split(tensor(f"{part}_tokens"), tensor(f"{part}_labels")) for part in ("train", "valid", "test")
            }
        return Task(**parts, **facts)
