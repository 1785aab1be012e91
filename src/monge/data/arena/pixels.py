"""The pictures of the Long Range Arena, pixel by pixel: CIFAR-10 and Pathfinder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from monge.errors import InputError

from ..task import Parts, Progress, Split
from .files import found
from .pickled import read_cifar

__all__ = ["images", "pathfinder"]

COLOURS = 3 * 32 * 32
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
    held = np.fromfile(path, dtype=np.uint8)
    if held.size == 0 or held.size % (1 + COLOURS):
        raise InputError(
            f"{path} must hold images of {1 + COLOURS} bytes, but holds {held.size} bytes: fetch it anew, whole."
        )
    records = held.reshape(-1, 1 + COLOURS)
    return records[:, 1:], records[:, 0]


def pathfinder(side: int, root: Path, seed: int, progress: Progress) -> Parts:
    """Pictures of so many pixels along a side."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("The pictures are opened by Pillow, which is missing: pip install 'monge[plot]'.") from error
    home = found(root, f"pathfinder{side}/curv_contour_length_14", "curv_contour_length_14")
    lists = sorted(found(home, "metadata").glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
    pictures = [entry for path in lists for entry in _listed(path, home)]
    if len(pictures) < 3:
        raise InputError(f"{home / 'metadata'} lists {len(pictures)} pictures in *.npy: fetch the release anew.")
    tokens = np.empty((len(pictures), side * side), dtype=np.uint8)
    for k, (path, _) in enumerate(pictures):
        try:
            with Image.open(path) as picture:
                # Before it is unpacked: a forged one may promise a picture that fills the memory.
                if picture.size != (side, side):
                    width, height = picture.size
                    raise InputError(f"{path} must have {side} x {side} pixels, but has {width} x {height}.")
                tokens[k] = np.asarray(picture.convert("L")).reshape(-1)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{path} is missing or damaged: download it again, or remove its line from the metadata."
            ) from error
        progress(k + 1, len(pictures))
    labels = torch.tensor([label for _, label in pictures], dtype=torch.int64)
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    tenth = max(1, len(pictures) // 10)
    parts = order.tensor_split([len(pictures) - 2 * tenth, len(pictures) - tenth])
    whole = torch.from_numpy(tokens)
    return tuple(Split(whole[part], labels[part]) for part in parts)


def _listed(path: Path, home: Path) -> list[tuple[Path, int]]:
    """The pictures that a list names: lines of text, in spite of their ending: folder, file, number, label, ..."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        cells = line.split()
        if len(cells) < 4 or cells[3] not in ("0", "1"):
            raise InputError(
                f"{path}, line {number}: folder, file, number and a label of 0 or 1 are expected, but there is "
                f"{line[:80]!r}: fetch it anew."
            )
        entries.append((home / cells[0] / cells[1], int(cells[3])))
    return entries
