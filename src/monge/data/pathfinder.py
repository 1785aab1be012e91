"""Pathfinder: are two discs on the same dashed curve? The pictures are drawn by the published definition."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from monge._checks import check_choice, check_count

from ._canvas import paint
from ._snakes import Curves, Rules, draw_curves
from ._store import stored
from .task import Progress, Task

__all__ = ["pathfinder"]

# To be raised when the same seed gives other pictures than before, so that none of before are taken from a folder.
EDITION = 1
CONTOURS = (6, 9, 14)
# Tries at once: as many as keep the maps of a batch within some megabytes.
PIXELS_AT_ONCE = 2**22


# What depends on the size of a picture; the length of a dash at 64 and 128 is a choice of ours.
SIZES = {
    32: Rules(32, 2.0, 0.5, (1,), 7, 1.0, 20, 1.5, 0.75),
    64: Rules(64, 3.0, 1.0, (1,), 12, 1.8, 22, 2.5, 0.8),
    128: Rules(128, 5.0, 1.5, (2, 3), 20, 1.8, 35, 3.0, 0.9),
}


def pathfinder(
    *,
    size: int = 32,
    contour: int = 14,
    singles: int = 0,
    counts: tuple[int, int, int] = (160_000, 20_000, 20_000),
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Task:
    r"""Two discs mark tips of dashed curves: label 1 if they are the two ends of one curve, 0 if ends of two.

    A picture has two long curves ("snakes") of ``contour`` dashes, and some short curves of ``contour // 3`` dashes
    that distract. The first dash of one long curve is at a random pixel near the centre, and that of the other one at a
    fixed distance from it, both in random directions. Then the two curves grow alternately. After a dash of length $l$
    there is a gap of $2 m$. The next dash turns about the pixel $l + 2m$ further on, and points to a pixel on the
    circle of radius $l + m$ about it. This pixel is drawn with the weights $\cos^2(c \cdot \mathrm{turn})$; the weight
    is zero if the turn reaches 90 degrees over $c$ or the pixel is not free. A dash that comes within $m$ of another
    curve is drawn again, at most a few times; after that, the whole picture is drawn again. Short curves grow in the
    same way from a random free pixel. Each has four tries, so that some pictures have fewer of them.

    The label is drawn before the discs are placed: one disc is at the start of a long curve, the other one at the end
    of the same curve or of the other one. So the brightness of a picture and the number of dashes say nothing about
    the label, and the distance of the discs says almost nothing.

    Args:
        size: height and width of a picture: 32, 64 or 128.
        contour: number of dashes of a long curve: 6, 9 or 14; longer curves are harder.
        singles: number of single dashes that are added.
        counts: how many pictures there are for training, validation and the test. Those for the test and for
            validation are drawn first: for one seed, they are the same for every number of training pictures.
        seed: the same seed gives the same pictures.
        folder: where pictures are stored from one call to the next; None stores nothing on disk.
        progress: called with the number of pictures that are made and the number of all pictures.

    Returns:
        A task with two classes, 256 grey levels, and ``size * size`` tokens for each picture, row after row; there is
        no padding.

    Raises:
        InputError: ``size`` or ``contour`` has another value, or the folder cannot be used.

    Example:
        >>> from monge.data import pathfinder
        >>> task = pathfinder(contour=6, counts=(80, 10, 10))
        >>> task.train.tokens.shape, task.vocabulary, task.pad
        (torch.Size([80, 1024]), 256, None)

    Source: Linsley et al., "Learning long-range spatial dependencies with horizontal gated recurrent units",
    arXiv:1805.08315; the sequences are of Tay et al., "Long Range Arena", arXiv:2011.04006.
    """
    check_choice("size", size, SIZES)
    check_choice("contour", contour, CONTOURS)
    check_count("singles", singles, low=0, high=100)
    return stored(
        folder, partial(_pictures, _rules(size, contour, singles)), EDITION, size, contour, singles,
        counts=counts, seed=seed, progress=progress, name="pathfinder", vocabulary=256, classes=2,
    )  # fmt: skip


def _rules(size: int, contour: int, singles: int = 0) -> Rules:
    return replace(SIZES[size], contour=contour, singles=singles)


def _pictures(rules: Rules, count: int, seed: int, progress: Progress) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    tokens = np.empty((count, rules.size**2), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    done = 0
    while done < count:
        curves, drawn, marks = _scenes(PIXELS_AT_ONCE // rules.size**2, rng, rules)
        stop = min(count, done + len(drawn))
        tokens[done:stop] = paint(curves, marks, rules).reshape(len(drawn), rules.size**2)[: stop - done]
        labels[done:stop] = drawn[: stop - done]
        done = stop
        progress(done, count)
    return torch.from_numpy(tokens), torch.from_numpy(labels)


def _scenes(tries: int, rng: np.random.Generator, rules: Rules) -> tuple[Curves, np.ndarray, np.ndarray]:
    """Curves, labels and the two marks of each picture."""
    curves = draw_curves(tries, rng, rules)
    count = len(curves.snake)
    labels = rng.integers(2, size=count)
    # The long curves take turns: their first dashes are 0 and 1, their last ones stand at the end of the pair.
    one = rng.integers(2, size=count)
    other = np.where(labels == 1, one, 1 - one)
    rows = np.arange(count)
    marks = np.stack([curves.start[rows, one], curves.end[rows, 2 * (rules.contour - 1) + other]], axis=1)
    return curves, labels, marks
