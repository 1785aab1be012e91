"""Texts as rows of bytes: id = byte + 1, zero is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

VOCABULARY = 257
ID_BYTES = 2


def rows_of_bytes(texts: Sequence[bytes], length: int) -> Int16[Tensor, "count length"]:
    """Each text cut to ``length`` bytes, or padded up to it."""
    return padded(texts, length, np.int16, 1)


def padded(rows: Sequence[bytes], length: int, dtype: type[np.integer], shift: int = 0) -> Tensor:
    """Each row cut to ``length`` bytes, all of them raised by ``shift``, or padded up to it by zeros."""
    table = np.zeros((len(rows), length), dtype=dtype)
    for filled, row in zip(table, rows, strict=True):
        held = np.frombuffer(row[:length], dtype=np.uint8)
        filled[: held.size] = held.astype(dtype) + shift
    return torch.from_numpy(table)
