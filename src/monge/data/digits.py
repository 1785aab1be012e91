"""Handwritten digits, read pixel by pixel: real data that are installed with scikit-learn."""

from __future__ import annotations

import math

import torch

from monge._checks import check_count, check_seed
from monge.errors import InputError

from .task import Split, Task

__all__ = ["digits"]

SIDE, LEVELS = 8, 17


def digits(*, length: int = SIDE**2, seed: int = 0) -> Task:
    r"""1797 handwritten digits as sequences of grey pixels, row after row.

    A picture of $8 \times 8$ pixels has 64 tokens, which are its grey levels 0 to 16. If it is enlarged $k$ times along
    both sides, every pixel becomes a square of $k \times k$ equal pixels. The content is the same, but the sequence has
    $64 k^2$ tokens; so the speed at 1024 tokens can be measured on real data. The parts hold 70, 10 and 20 per cent of
    every class.

    Args:
        length: how many tokens a picture has: 64 (as it is), 256, 576, 1024, ..., $64 k^2$.
        seed: seed that decides which picture is in which part; for one seed, the parts are the same at every length.

    Returns:
        A task with ten classes, 17 levels and no padding; the parts hold 1258, 180 and 359 pictures.

    Raises:
        InputError: scikit-learn is not installed, or ``length`` is not 64 times a square.

    Example:
        >>> from monge.data import digits
        >>> task = digits(length=256)
        >>> task.train.tokens.shape, task.classes, round(task.majority_rate, 2)
        (torch.Size([1258, 256]), 10, 0.1)

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.
    """
    check_count("length", length, low=SIDE**2)
    check_seed("seed", seed)
    enlarged = math.isqrt(length // SIDE**2)
    if SIDE**2 * enlarged**2 != length:
        near = [SIDE**2 * k**2 for k in (enlarged, enlarged + 1)]
        raise InputError(f"length must be 64 times a square, but is {length}: take {near[0]} or {near[1]}.")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("The digits come with scikit-learn, which is missing: pip install 'monge[embed]'.") from error
    pixels, classes = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.uint8).unflatten(1, (SIDE, SIDE))
    images = images.repeat_interleave(enlarged, 1).repeat_interleave(enlarged, 2)
    tokens, labels = images.flatten(1), torch.tensor(classes, dtype=torch.int64)

    # Class by class, so that no part is short of a digit.
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for digit in range(10):
        of_class = (labels == digit).nonzero().squeeze(1)
        of_class = of_class[torch.randperm(len(of_class), generator=generator)]
        cuts = [round(0.7 * len(of_class)), round(0.8 * len(of_class))]
        parts.append(of_class.tensor_split(cuts))
    # In the order of the writers, whatever the class: a reader may take a part from its beginning.
    rows = [torch.cat(part).sort().values for part in zip(*parts, strict=True)]
    return Task("digits", *(Split(tokens[k], labels[k]) for k in rows), vocabulary=LEVELS, classes=10)
