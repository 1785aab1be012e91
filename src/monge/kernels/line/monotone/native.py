"""The C++ twin: one walk a row, rows in parallel; a backward that only scatters."""

from __future__ import annotations

import torch
from torch import Tensor

from .._rows import row_loop

__all__ = ["monotone"]


def monotone(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of the monotone plan of rows of weights (rows or 1, n) and (rows or 1, m)."""
    w, i, j = _monotone(a, b)
    return i, j, w


def _outputs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = max(a.shape[0], b.shape[0])
    w = a.new_empty(rows, a.shape[1] + b.shape[1] - 1)
    return w, torch.empty_like(w, dtype=torch.int64), torch.empty_like(w, dtype=torch.int64)


def _setup(ctx, inputs, output) -> None:
    a, b = inputs
    _, i, j = output
    ctx.save_for_backward(i, j)
    ctx.shapes = a.shape, b.shape


def _backward(ctx, upstream, _i, _j):
    i, j = ctx.saved_tensors
    shape_a, shape_b = ctx.shapes
    moved = upstream.double()
    # A level ends one piece and begins the next; it belongs to the side that advances there.
    at_level = moved[:, :-1] - moved[:, 1:]
    from_a = i[:, 1:] > i[:, :-1]
    half = moved[:, -1:] / 2
    gradients = []
    for shape, index, mine in ((shape_a, i, from_a), (shape_b, j, ~from_a)):
        levels = at_level.new_zeros(len(i), shape[1]).scatter_add(1, index[:, :-1], at_level * mine)
        sums = levels.flip(-1).cumsum(-1).flip(-1) + half
        gradients.append((sums.sum(0, keepdim=True) if shape[0] < len(i) else sums).to(upstream.dtype))
    return gradients[0], gradients[1]


_monotone = row_loop(
    "monotone(Tensor[#rows n] a, Tensor[#rows m] b) -> (Tensor, Tensor, Tensor)",
    _outputs,
    given=2,
    order=(1, 2, 0),
    setup=_setup,
    backward=_backward,
)
