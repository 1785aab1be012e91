"""Batch dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch

__all__ = ["broadcast_shapes"]


def broadcast_shapes(*shapes: Sequence[int]) -> torch.Size:
    """What ``torch.broadcast_shapes`` says, without the computer algebra that its first call imports (seconds).

    Raises:
        RuntimeError: If the shapes do not broadcast.
    """
    sizes = []
    for aligned in zip_longest(*(reversed(tuple(shape)) for shape in shapes), fillvalue=1):
        size = 1
        for other in aligned:
            if other == 1:
                continue
            if size not in (1, other):
                raise RuntimeError(f"shapes {', '.join(str(tuple(shape)) for shape in shapes)} do not broadcast")
            size = other
        sizes.append(size)
    return torch.Size(reversed(sizes))
