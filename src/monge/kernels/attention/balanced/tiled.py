"""Balanced attention a few heads at a time: scores are made, balanced and left in cache, in forward and backward.

A tile whose scores are within the range of scaling is scaled, the others go through the logarithmic form. Neither needs
a graph, and nothing of the size of all pairs is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from monge._arrays import row_blocks

from .._tiles import Tiles, batch_of, core_of, flat, tiled
from . import logarithmic, scaling
from .reference import balanced_apply_reference

__all__ = ["balanced"]

# Dimensions of q, k, v, a and b besides those of the batch, and of what is made of them: the output, the scalings or
# potentials before each step on the columns and after it, and which heads were scaled.
_CORES = (2, 2, 2, 1, 1)
_MADE = {"out": "... n c", "rows": "... n_half//2 n", "columns": "... n_half//2 m", "scaled": "...; bool"}


def _tiles(q: Tensor, k: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The heads of a tile, and their scores."""
    for tile in row_blocks(len(q), 4 * q.shape[-2] * k.shape[-2]):
        yield tile, q[tile] @ k[tile].mT


def _forward(*arguments: Any) -> Tiles:
    *inputs, n_half = arguments
    q, k, v, a, b = flat(batch_of(inputs, _CORES), inputs, _CORES)
    for tile, scores in _tiles(q, k):
        given = v[tile], a[tile], b[tile], n_half
        made = scaling.forward(scores, *given)
        # Scaling has overwritten the scores.
        yield tile, (*(made or logarithmic.forward(q[tile] @ k[tile].mT, *given)), made is not None)


def _backward(*arguments: Any) -> Tiles:
    inputs, n_half, made = arguments[:5], arguments[5], arguments[6:]
    batch = batch_of(inputs, _CORES)
    q, k, v, a, b = flat(batch, inputs, _CORES)
    out, rows, columns, scaled, d_out = flat(batch, made, (*map(core_of, _MADE.values()), 2))
    for tile, scores in _tiles(q, k):
        form = scaling if bool(scaled[tile].all()) else logarithmic
        given = v[tile], a[tile], b[tile], n_half
        d_scores, *rest = form.backward(scores, *given, rows[tile], columns[tile], out[tile], d_out[tile])
        # Thin times matrix, in the order of storage that BLAS is fast at.
        yield tile, (d_scores @ k[tile], (q[tile].mT @ d_scores).mT, *rest)


def _allocate(*arguments: Any) -> tuple[Tensor, ...]:
    *inputs, n_half = arguments
    q, _, v, a, b = inputs
    batch = batch_of(inputs, _CORES)
    steps = (w.new_empty(*batch, n_half // 2, w.shape[-1]) for w in (a, b))
    return v.new_empty(*batch, q.shape[-2], v.shape[-1]), *steps, a.new_empty(batch, dtype=bool)


balanced = tiled(
    "balanced",
    "Tensor[*b n d] q, Tensor[*b m d] k, Tensor[*b m c] v, Tensor[*b n] a, Tensor[*b m] b, int[1 <= n_half] n_half",
    _CORES,
    _MADE,
    _allocate,
    _forward,
    _backward,
    balanced_apply_reference,
    mapped=True,
)
