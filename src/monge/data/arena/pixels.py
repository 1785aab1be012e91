"""The pictures of the Long Range Arena, pixel by pixel: CIFAR-10 and Pathfinder."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from monge._reading import Budget, lines_of, read_file, refused
from monge.errors import InputError

from ..task import Parts, Progress, Split
from .files import found
from .pickled import read_cifar

__all__ = ["images", "pathfinder"]

COLOURS = 3 * 32 * 32
# Bytes of a file, many times those of a picture of the release.
_LARGEST_PICTURE = 2**22
# Bytes that the path of a picture takes in memory, besides its letters.
_ENTRY = 2**11
# Longer paths no system opens.
_LONGEST_LINE = 2**12
GREY = np.array([0.2989, 0.5870, 0.1140], dtype=np.float32)


def images(root: Path, seed: int, progress: Progress) -> Parts:
    """CIFAR-10 in grey, from the binary version, or else from the one for Python."""
    binary, pickled = "cifar-10-batches-bin", "cifar-10-batches-py"
    home = root if root.name in (binary, pickled) else found(root, binary, pickled)
    read, ending = (_binary, ".bin") if home.name == binary else (read_cifar, "")
    files = [found(home, f"{name}{ending}") for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
    splits = []
    for done, path in enumerate(files, start=1):
        colours, labels = read(path)
        grey = np.rint(np.einsum("bcp,c->bp", colours.reshape(-1, 3, 1024).astype(np.float32), GREY))
        splits.append((torch.from_numpy(grey.astype(np.uint8)), torch.from_numpy(labels.astype(np.int64))))
        progress(done, len(files))
    tokens, labels = (torch.cat(column) for column in zip(*splits[:-1], strict=True))
    cut = round(0.9 * len(labels))
    return *map(Split, tokens.tensor_split([cut]), labels.tensor_split([cut])), Split(*splits[-1])


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    budget = Budget()
    with refused(f"{path} cannot be read: ", ": download it again."):
        held = np.frombuffer(read_file(path, budget), dtype=np.uint8)
        # Colours become grey in single precision.
        budget.take(6 * held.size)
    if held.size == 0 or held.size % (1 + COLOURS):
        raise InputError(
            f"{path} must hold images of {1 + COLOURS} bytes, but holds {held.size} bytes: download it again."
        )
    records = held.reshape(-1, 1 + COLOURS)
    return records[:, 1:], records[:, 0]


def pathfinder(side: int, root: Path, seed: int, progress: Progress) -> Parts:
    """Pictures of so many pixels along a side."""
    if find_spec("PIL") is None:
        raise InputError("The pictures are opened by Pillow, which is missing: pip install 'monge[plot]'.")
    home = found(root, f"pathfinder{side}/curv_contour_length_14", "curv_contour_length_14")
    lists = sorted(found(home, "metadata").glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
    pictures = [entry for path in lists for entry in _listed(path, home)]
    if len(pictures) < 3:
        raise InputError(f"{home / 'metadata'} lists {len(pictures)} pictures in *.npy: download the release again.")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    with refused(f"{home} cannot be read: ", ": remove lines from the metadata."):
        Budget().take(len(pictures) * side**2)
        tokens = np.empty((len(pictures), side**2), dtype=np.uint8)
    # Each goes to its place in the order at once, so that the parts need no copy.
    for done, (place, (path, _)) in enumerate(zip(order.argsort().tolist(), pictures, strict=True), start=1):
        tokens[place] = _picture(path, side)
        progress(done, len(pictures))
    labels = torch.tensor([label for _, label in pictures], dtype=torch.int64)
    tenth = max(1, len(pictures) // 10)
    cuts = [len(pictures) - 2 * tenth, len(pictures) - tenth]
    parts = zip(torch.from_numpy(tokens).tensor_split(cuts), labels[order].tensor_split(cuts), strict=True)
    return tuple(Split(*part) for part in parts)


def _picture(path: Path, side: int) -> np.ndarray:
    """The grey levels of a picture, row after row."""
    from PIL import Image

    told = f"{path} is missing or damaged: download it again, or remove its line from the metadata ("
    with refused(told, ").", damaged="it is damaged or no PNG"):
        # Only what the release holds: Pillow would start other programs for some formats.
        content, formats = bytes(read_file(path, Budget(_LARGEST_PICTURE))), ("PNG",)
        # Pillow compares no checksum of pixels unless it is asked to, and then has to start again.
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            picture.verify()
        with Image.open(io.BytesIO(content), formats=formats) as picture:
            size, mode = picture.size, picture.mode
            # Before it is unpacked: a forged one may promise a picture that fills the memory.
            if size == (side, side) and mode in ("1", "L", "P", "RGB"):
                return np.asarray(picture.convert("L")).reshape(-1)
    if size != (side, side):
        raise InputError(f"{path} must have {side} x {side} pixels, but has {size[0]} x {size[1]}.")
    raise InputError(f"{path} must have grey levels of 8 bits, but has the mode {mode}: download it again.")


def _listed(path: Path, home: Path) -> list[tuple[Path, int]]:
    """The pictures that a list names: lines of text, in spite of their ending: folder, file, number, label, ..."""
    entries, budget, inside = [], Budget(), home.resolve()
    with refused(f"{path}, ", ": download it again.", damaged="which cannot be read"):
        for number, line in lines_of(path):
            if len(line) > _LONGEST_LINE:
                raise InputError(f"line {number} is longer than {_LONGEST_LINE} letters")
            cells = line.split()
            if len(cells) < 4 or cells[3] not in ("0", "1"):
                raise InputError(
                    f"line {number}: folder, file, number and a label of 0 or 1 are expected, but there is "
                    f"{line[:80]!r}"
                )
            picture = home / cells[0] / cells[1]
            if not picture.resolve().is_relative_to(inside):
                raise InputError(f"line {number}: {cells[0][:40]}/{cells[1][:40]} lies outside of {home}")
            budget.take(_ENTRY + 2 * len(line))
            entries.append((picture, int(cells[3])))
    return entries
