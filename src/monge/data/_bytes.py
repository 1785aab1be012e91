"""Texts as rows of bytes: id = byte + 1, zero is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int16
from torch import Tensor

__all__ = ["VOCABULARY", "rows_of_bytes"]

VOCABULARY = 257


def rows_of_bytes(texts: Sequence[bytes], length: int) -> Int16[Tensor, "count length"]:
    """Each text cut to ``length`` bytes, or padded up to it."""
    rows = np.zeros((len(texts), length), dtype=np.int16)
    for row, text in zip(rows, texts, strict=True):
        held = np.frombuffer(text[:length], dtype=np.uint8)
        row[: held.size] = held.astype(np.int16) + 1
    return torch.from_numpy(rows)
