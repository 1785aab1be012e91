"""Classification of texts byte by byte: docstrings that are installed together with Monge, or your own texts."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from monge._checks import check_count, check_seed
from monge._reading import Budget, read_file, refused
from monge.errors import InputError

from ._bytes import ID_BYTES, VOCABULARY, rows_of_bytes
from .task import Split, Task

__all__ = ["byte_text"]

LIBRARIES = ("networkx", "numpy", "scipy", "sympy", "torch")
"""The classes, in alphabetical order; all of them are there wherever torch, NumPy and SciPy are."""

DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
NAMES = re.compile(r"\b(networkx|nx|numpy|np|scipy|sympy|torch|pytorch)\b", re.IGNORECASE)
# Code of others that some packages carry along, and code that documents nothing.
FOREIGN = {"tests", "testing", "_vendor", "externals"}
SHORTEST = 200


def byte_text(*, folder: str | os.PathLike[str] | None = None, length: int = 1024, seed: int = 0) -> Task:
    r"""Which library is this text the documentation of? Or: which folder is this text from?

    Without a ``folder``, the texts are the docstrings of the installed NetworkX, NumPy, SciPy, SymPy and PyTorch that
    have at least 200 characters. The names of the libraries and their usual abbreviations are replaced by blanks.
    Docstrings that occur twice are used once, all classes have as many texts as the smallest one, and all docstrings
    of one source file are in the same part. A model can recognise a library by its subject (graphs, arrays, statistics,
    symbols or layers) and by its style. A linear classifier on counts of single bytes reaches 0.79, and on counts of
    three bytes in a row 0.88. Other versions of the libraries have other texts, so compare results within one
    environment.

    With a ``folder``, the classes are the names of its subfolders, in alphabetical order, and every file
    ``folder/<class>/*.txt`` is a text, in any encoding.

    In each class, one text of ten is in the validation part and one of ten in the test part.

    Args:
        folder: the folder of your own texts; None takes the docstrings.
        length: texts are cut or padded to so many bytes; the Long Range Arena has 4000.
        seed: which texts go to which part.

    Returns:
        A task of 257 token ids: 0 is padding, and the others are the byte plus one.

    Raises:
        InputError: a library is not installed, or the folder has fewer than two classes, a class of fewer than three
            texts, or an empty text.

    Example:
        >>> from pathlib import Path
        >>> from monge.data import byte_text
        >>> for language, word in ("english", "the"), ("german", "das"):
        ...     Path("texts", language).mkdir(parents=True)
        ...     for k in range(10):
        ...         _ = Path("texts", language, f"{k}.txt").write_text(f"{word} {k}")
        >>> task = byte_text(folder="texts", length=8)
        >>> len(task.train), task.test.tokens[0, :3].tolist(), [ord(letter) + 1 for letter in "the"]
        (16, [117, 105, 102], [117, 105, 102])

    Source: the task is modelled on byte-level text classification of Tay et al., "Long Range Arena", arXiv:2011.04006.
    """
    check_count("length", length)
    check_seed("seed", seed)
    classes = _docstrings(seed) if folder is None else _texts(Path(folder), length)
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[tuple[bytes, int]], ...] = ([], [], [])
    for label, sources in enumerate(classes):
        order = torch.randperm(len(sources), generator=generator).tolist()
        total = sum(map(len, sources))
        quota = max(1, round(total / 10))
        room = [total, quota, quota]
        for source in (sources[k] for k in order):
            # A source goes whole to the first part that has room: test, validation, and the rest is to learn from.
            part = next(k for k in (2, 1, 0) if len(source) <= room[k])
            room[part] -= len(source)
            parts[part].extend((text, label) for text in source)
    splits = (
        Split(rows_of_bytes([text for text, _ in part], length), torch.tensor([label for _, label in part]))
        for part in parts
    )
    return Task("byte_text", *splits, vocabulary=VOCABULARY, classes=len(classes), pad=0)


def _docstrings(seed: int) -> list[list[list[bytes]]]:
    """Class by class and source file by source file, as many in every class."""
    classes = [list(_documented(library)) for library in LIBRARIES]
    smallest = min(sum(map(len, sources)) for sources in classes)
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for sources in classes:
        total = sum(map(len, sources))
        kept = iter((torch.randperm(total, generator=generator) < smallest).tolist())
        sources = [[text for text in source if next(kept)] for source in sources]
        chosen.append([source for source in sources if source])
    return chosen


def _documented(library: str) -> Iterator[list[bytes]]:
    # The package is found, not imported.
    found = importlib.util.find_spec(library)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"The texts are docstrings of {', '.join(LIBRARIES)}, but {library} is not installed: "
            f"pip install {library}, or pass a folder of texts."
        )
    root = Path(found.submodule_search_locations[0])
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        if FOREIGN.isdisjoint(path.relative_to(root).parts):
            texts = []
            for held in DOCSTRING.findall(path.read_text(encoding="utf-8", errors="replace")):
                text = NAMES.sub("_", inspect.cleandoc(held))
                if len(text) >= SHORTEST and text not in seen:
                    seen.add(text)
                    texts.append(text.encode())
            yield texts


def _texts(folder: Path, length: int) -> list[list[list[bytes]]]:
    """Class by class, every text its own source, no longer than it will be."""
    if not folder.is_dir():
        raise InputError(f"folder={str(folder)!r} is no folder: pass one that holds <class>/*.txt.")
    names = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(names) < 2:
        raise InputError(
            f"folder={str(folder)!r} must hold a subfolder per class, at least two, but holds {len(names)}: "
            "sort the texts into <class>/*.txt."
        )
    classes, budget = [], Budget()
    for name in names:
        paths = sorted(name.glob("*.txt"))
        if len(paths) < 3:
            raise InputError(
                f"{name} must hold at least three texts, one for each part, but holds {len(paths)} files *.txt: "
                "add some, or remove the class."
            )
        texts = []
        for path in paths:
            with refused(f"{path} cannot be used: ", ": replace or remove it."):
                budget.take(ID_BYTES * length)
                texts.append(bytes(read_file(path, budget, most=length)))
            if not texts[-1]:
                raise InputError(f"{path} is empty: write something, or remove it.")
        classes.append([[text] for text in texts])
    return classes
