"""The C++ twin of `top_k`."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import module
from .._operator import custom_op
from ..bridge import Call, Rule, decode, register_vmap
from ..pairs import broadcast

__all__ = ["LARGEST_K", "top_k_native"]

# The native loop keeps the chosen in order by insertion, which is right for a few of them.
LARGEST_K = 256


@custom_op("top_k")
def top_k_native(
    first: Tensor, second: Tensor | None, kind: str, p: float, power: float, g: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k smallest of C_ij - g_j in every row, and their columns."""
    call = Call(Rule(first, second, kind, p, power), torch.ones((), dtype=torch.float64), [g])
    values, array = call.output(first.shape[-2], k, dtype=first.dtype)
    index, index_array = call.output(first.shape[-2], k, dtype=torch.int64)
    module().top_k(*call.costs, *call.vectors, array, index_array, torch.get_num_threads())
    return values, index


@top_k_native.register_fake
def _(
    first: Tensor, second: Tensor | None, kind: str, p: float, power: float, g: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    batch = broadcast(decode(first, second, kind, p, power).batch_shape, g.shape[:-1])
    shape = (*batch, first.shape[-2], k)
    return first.new_empty(shape), first.new_empty(shape, dtype=torch.int64)


register_vmap(top_k_native, (2, 2, None, None, None, 1, None))
