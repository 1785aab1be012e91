"""The definition of `top_k`, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from monge.kernels.pairs import Pairs, broadcast
from monge.kernels.scores import compute_dtype
from monge.kernels.stream import rows_per_block, stream

__all__ = ["top_k_reference"]


def top_k_reference(pairs: Pairs, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of C_ij - g_j in every row and their columns, by blocks of rows."""
    dtype = compute_dtype(pairs, g)
    rows, shared, evaluate, width = pairs.parts(dtype)
    potential = g.to(dtype)[..., None, :]
    batch = broadcast(pairs.batch_shape, g.shape[:-1])
    m = pairs.shape[1]

    def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
        reduced = evaluate(rows, shared[:-1]) - shared[-1]
        reduced = reduced.expand(*batch, *reduced.shape[-2:])
        if k == 1:
            # The first of equal minima, which argmin promises and min does not.
            index = reduced.argmin(-1, keepdim=True)
            values = reduced.gather(-1, index)
        else:
            index = reduced.topk(k, dim=-1, largest=False, sorted=False).indices.sort(-1).values
            values, order = reduced.gather(-1, index).sort(dim=-1, stable=True)
            index = index.gather(-1, order)
        return values, index.masked_fill(values == math.inf, -1)

    step = rows_per_block(math.prod(batch) * m * (width + 2) * dtype.itemsize)
    values, index = stream(body, rows, [*shared, potential], step=step)
    return values, index
