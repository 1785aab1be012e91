"""The texts of the Long Range Arena: ListOps, reviews and pairs of papers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from monge._reading import Budget, read_file, refused
from monge.errors import InputError

from .._bytes import padded, rows_of_bytes
from .._trees import SYMBOLS
from ..task import Parts, Progress, Split
from .files import BYTES_KEPT, found, rows_of

__all__ = ["pairs", "reviews", "tables", "trees"]

LONGEST_TREE = 2000
LONGEST_TEXT = 4000
# Bytes that a row takes in memory, besides its symbols.
_ROW = 2**7
IDS = {symbol: token for token, symbol in enumerate(SYMBOLS) if token}
LABEL = re.compile(r"\d{1,3}(\.0*)?")


def tables(
    read: Callable[[Path], Split], folder: str, files: Sequence[str], root: Path, seed: int, progress: Progress
) -> Parts:
    """A part a file, which lies in the folder or beside it."""
    parts = []
    for done, file in enumerate(files, start=1):
        parts.append(read(found(root, file, f"{folder}/{file}")))
        progress(done, len(files))
    return tuple(parts)


def trees(path: Path) -> Split:
    """Columns Source and Target; brackets that only group are dropped."""
    rows, labels = [], []
    for number, cells in rows_of(path, 2, 2 * LONGEST_TREE + _ROW):
        if number == 1:
            if cells != ["Source", "Target"]:
                raise InputError(
                    f"{path} must begin with Source and Target, not with {str(cells)[:80]}: download it again."
                )
            continue
        symbols = cells[0].replace("(", " ").replace(")", " ").split()
        try:
            row = bytes(map(IDS.__getitem__, symbols))
        except KeyError as error:
            raise InputError(
                f"{path}, line {number}: {error.args[0][:80]!r} is no symbol of list operations: download it again."
            ) from error
        if not 0 < len(row) <= LONGEST_TREE:
            raise InputError(
                f"{path}, line {number}: a tree has 1 to {LONGEST_TREE} symbols, this one {len(row)}: fetch anew."
            )
        rows.append(row)
        labels.append(_label(cells[1], path, number))
    return Split(padded(rows, LONGEST_TREE, np.uint8), torch.tensor(labels, dtype=torch.int64))


def reviews(root: Path, seed: int, progress: Progress) -> Parts:
    """One file a review, negative ones 0 and positive ones 1; those to test are those to validate."""
    home = found(root, "aclImdb") if root.name != "aclImdb" else root
    paths = {
        part: [
            (path, label)
            for label, mood in enumerate(("neg", "pos"))
            for path in sorted(found(home, f"{part}/{mood}").glob("*.txt"))
        ]
        for part in ("train", "test")
    }
    total = sum(map(len, paths.values()))
    splits, done, budget = {}, 0, Budget()
    for part, files in paths.items():
        texts = []
        for path, _ in files:
            with refused(f"{path} cannot be used: ", ": download the reviews again."):
                budget.take(2 * LONGEST_TEXT)
                texts.append(bytes(read_file(path, budget, most=LONGEST_TEXT)))
            if not texts[-1]:
                raise InputError(f"{path} is empty: download the reviews again.")
            done += 1
            progress(done, total)
        labels = torch.tensor([label for _, label in files], dtype=torch.int64)
        splits[part] = Split(rows_of_bytes(texts, LONGEST_TEXT), labels)
    return splits["train"], splits["test"], splits["test"]


def pairs(path: Path) -> Split:
    """Columns label, two names and two texts, without a header."""
    texts, labels = [], []
    for number, (label, _, _, one, two) in rows_of(path, 5, 6 * LONGEST_TEXT + 2 * _ROW):
        for text in (one, two):
            if not text:
                raise InputError(f"{path}, line {number}: a text is empty: download the file again.")
            # A character takes at least one byte: what lies behind is never looked at.
            texts.append(text[:LONGEST_TEXT].encode(errors=BYTES_KEPT)[:LONGEST_TEXT])
        labels.append(_label(label, path, number))
    tokens = rows_of_bytes(texts, LONGEST_TEXT).unflatten(0, (len(labels), 2))
    return Split(tokens, torch.tensor(labels, dtype=torch.int64))


def _label(cell: str, path: Path, number: int) -> int:
    if not LABEL.fullmatch(cell):
        raise InputError(f"{path}, line {number}: {cell[:80]!r} is no label: download the file again.")
    return int(cell.partition(".")[0])
