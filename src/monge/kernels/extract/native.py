"""The C++ twin of `extract`. Its outputs have a length that only the data knows, so it stays outside of graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import module
from ..bridge import Call, encode
from ..pairs import Pairs

__all__ = ["extract_native"]


def extract_native(
    pairs: Pairs, row: Tensor, col: Tensor, epsilon: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries exp(row_i + col_j - C_ij / eps) above the threshold."""
    call = Call(encode(pairs, row.dtype), epsilon, [row, col, threshold.expand(pairs.shape[0])])
    found = module().extract(*call.costs, *call.vectors, torch.get_num_threads())
    i, j, w = (torch.from_numpy(part) for part in found)
    return i, j, w
