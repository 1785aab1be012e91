"""The Long Range Arena as it was published, read from the files of its release."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from monge._checks import check_choice, check_seed
from monge.errors import InputError

from .._bytes import VOCABULARY
from .._store import untold
from .._trees import SYMBOLS
from ..task import Parts, Progress, Task
from . import pixels, texts

__all__ = ["long_range_arena"]

LISTS = ("basic_train.tsv", "basic_val.tsv", "basic_test.tsv")
PAPERS = ("new_aan_pairs.train.tsv", "new_aan_pairs.eval.tsv", "new_aan_pairs.test.tsv")
READERS: dict[str, tuple[Callable[[Path, int, Progress], Parts], int, int, int | None]] = {
    "listops": (partial(texts.tables, texts.trees, "listops-1000", LISTS), len(SYMBOLS), 10, 0),
    "text": (texts.reviews, VOCABULARY, 2, 0),
    "retrieval": (partial(texts.tables, texts.pairs, "tsv_data", PAPERS), VOCABULARY, 2, 0),
    "image": (pixels.images, 256, 10, None),
    "pathfinder": (partial(pixels.pathfinder, 32), 256, 2, None),
    "path-x": (partial(pixels.pathfinder, 128), 256, 2, None),
}
"""The reader of each task, its vocabulary, its classes and its padding."""


def long_range_arena(
    name: str,
    folder: str | os.PathLike[str],
    *,
    legacy_pixel_mask: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Task:
    r"""A task of the Long Range Arena from its official files, which you must download yourself.

    ============  ===========================================================  ==================  =======
    name          files, in ``folder`` or in the folder of the release         parts               length
    ============  ===========================================================  ==================  =======
    listops       ``listops-1000/basic_{train,val,test}.tsv``                  96k, 2k, 2k         2000
    text          ``aclImdb/{train,test}/{pos,neg}/*.txt``                     25k, 25k, 25k       4000
    retrieval     ``tsv_data/new_aan_pairs.{train,eval,test}.tsv``             147k, 18k, 17k      2 x 4000
    image         ``cifar-10-batches-bin/*.bin``, or ``cifar-10-batches-py``   45k, 5k, 10k        1024
    pathfinder    ``pathfinder32/curv_contour_length_14/{metadata,imgs}``      160k, 20k, 20k      1024
    path-x        ``pathfinder128/curv_contour_length_14/{metadata,imgs}``     160k, 20k, 20k      16384
    ============  ===========================================================  ==================  =======

    Texts are read as bytes and cut at 4000; a token id is the byte plus one. As published, the 25,000 reviews of the
    validation part are also those of the test part, so that a checkpoint chosen on them is chosen on the test. Colours
    become grey as 0.2989 red + 0.5870 green + 0.1140 blue, rounded; the last tenth of the training images is the
    validation part. Pathfinder is shuffled and divided into 80, 10 and 10 per cent.

    Some published numbers come from programs that took the token 0 for padding everywhere, so that the models did not
    see black pixels. ``legacy_pixel_mask`` does the same; without it every pixel is present.

    Args:
        name: one of the six names in the table.
        folder: where the files are.
        legacy_pixel_mask: take black pixels for padding.
        seed: seed by which pathfinder and path-x are shuffled before they are divided into parts.
        progress: called with the number of files that have been read and their total.

    Returns:
        The task. ListOps has the token ids of `list_operations`; the rows of retrieval are pairs.

    Raises:
        InputError: ``name`` is unknown, a file is missing or has another content than expected, or
            ``legacy_pixel_mask`` is set for a task of texts. The message names the file and the line.

    Example:
        >>> from pathlib import Path
        >>> from monge.data import long_range_arena
        >>> for part in "train", "val", "test":
        ...     _ = Path(f"basic_{part}.tsv").write_text("Source\tTarget\n( ( ( [MAX 2 ) 9 ) ] )\t9\n")
        >>> task = long_range_arena("listops", ".")
        >>> task.train.tokens[0, :5].tolist(), task.train.labels.tolist()
        ([12, 3, 10, 15, 0], [9])

    Source: Tay et al., "Long Range Arena: A Benchmark for Efficient Transformers", arXiv:2011.04006.
    """
    check_choice("name", name, READERS)
    check_seed("seed", seed)
    read, vocabulary, classes, pad = READERS[name]
    if legacy_pixel_mask:
        if pad is not None:
            raise InputError(
                f"legacy_pixel_mask is about pixels, but name={name!r} is a text with padding: leave it out."
            )
        pad = 0
    root = Path(folder)
    if not root.is_dir():
        raise InputError(
            f"folder={str(folder)!r} is no folder: pass the one that the Long Range Arena was unpacked in."
        )
    return Task(name, *read(root, seed, progress or untold), vocabulary=vocabulary, classes=classes, pad=pad)
