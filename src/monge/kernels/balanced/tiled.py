"""Balanced attention a few heads at a time: scores are made, balanced and left in cache, in forward and backward.

A tile whose scores are within the range of scaling is scaled, the others go through the logarithmic form. Neither needs
a graph, and nothing of the size of all pairs is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._operator import custom_op
from ..bridge import register_vmap, sum_to
from ..twice import again, derivatives
from . import logarithmic, scaling
from .reference import balanced_apply_reference

__all__ = ["balanced_apply_tiled", "takes"]

# Scores of one tile: four megabytes of float32.
_TILE = 2**20
# Dimensions of q, k, v, a and b besides those of the batch.
_CORES = (2, 2, 2, 1, 1)


def takes(*tensors: Tensor) -> bool:
    """Whether tiles serve these: on the processor, all of one full precision."""
    first = tensors[0]
    same = all(t.device.type == "cpu" and t.dtype == first.dtype for t in tensors)
    return same and first.dtype in scaling.RANGE and all(t.numel() for t in tensors)


def balanced_apply_tiled(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> Tensor:
    """As `balanced_apply_reference`."""
    return _balanced(q, k, v, a, b, n_half)[0]


def _batch(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor) -> torch.Size:
    return torch.broadcast_shapes(*(t.shape[:-2] for t in (q, k, v)), *(t.shape[:-1] for t in (a, b)))


def _flat(batch: torch.Size, inputs: Sequence[Tensor], cores: Sequence[int] = _CORES) -> list[Tensor]:
    """One dimension of the batch, before those that a head has of its own."""
    return [
        t.expand(batch + t.shape[t.ndim - core :]).reshape(batch.numel(), *t.shape[t.ndim - core :])
        for t, core in zip(inputs, cores, strict=True)
    ]


def _tiles(q: Tensor, k: Tensor) -> list[slice]:
    heads = max(1, _TILE // (q.shape[-2] * k.shape[-2]))
    return [slice(start, start + heads) for start in range(0, len(q), heads)]


@custom_op("balanced")
def _balanced(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output, the scalings before each step on the columns and after it, and which heads were scaled."""
    batch = _batch(q, k, v, a, b)
    q, k, v, a, b = _flat(batch, (q, k, v, a, b))
    out = v.new_empty(*q.shape[:-1], v.shape[-1])
    rows, columns = (w.new_zeros(len(w), n_half // 2, w.shape[-1]) for w in (a, b))
    scaled = torch.zeros(len(q), dtype=torch.bool)
    for tile in _tiles(q, k):
        weights = v[tile], a[tile], b[tile], n_half
        made = scaling.forward(q[tile] @ k[tile].mT, *weights)
        scaled[tile] = made is not None
        if made is None:
            made = logarithmic.forward(q[tile] @ k[tile].mT, *weights)
        out[tile], rows[tile], columns[tile] = made
    return tuple(t.reshape(batch + t.shape[1:]) for t in (out, rows, columns, scaled))  # type: ignore[return-value]


@_balanced.register_fake
def _shapes(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = _batch(q, k, v, a, b)
    return (
        v.new_empty(*batch, q.shape[-2], v.shape[-1]),
        a.new_empty(*batch, n_half // 2, a.shape[-1]),
        b.new_empty(*batch, n_half // 2, b.shape[-1]),
        a.new_empty(batch, dtype=torch.bool),
    )


@custom_op("balanced_slopes")
def _slopes(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int,
    out: Tensor, rows: Tensor, columns: Tensor, scaled: Tensor, d_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Derivatives by the five inputs, each of the whole batch."""
    batch = _batch(q, k, v, a, b)
    q, k, v, a, b = _flat(batch, (q, k, v, a, b))
    out, rows, columns, scaled, d_out = _flat(batch, (out, rows, columns, scaled, d_out), (2, 2, 2, 0, 2))
    slopes = tuple(t.new_empty(t.shape) for t in (q, k, v, a, b))
    for tile in _tiles(q, k):
        form = scaling if bool(scaled[tile].all()) else logarithmic
        d_scores, *rest = form.backward(
            q[tile] @ k[tile].mT, v[tile], a[tile], b[tile], n_half, rows[tile], columns[tile], out[tile], d_out[tile]
        )
        # Thin times matrix, in the order of storage that BLAS is fast at.
        found = (d_scores @ k[tile], (q[tile].mT @ d_scores).mT, *rest)
        for slope, part in zip(slopes, found, strict=True):
            slope[tile] = part
    return tuple(t.reshape(batch + t.shape[1:]) for t in slopes)  # type: ignore[return-value]


@_slopes.register_fake
def _shapes_of_slopes(*arguments: Any) -> tuple[Tensor, ...]:
    inputs = arguments[:5]
    batch = _batch(*inputs)
    return tuple(t.new_empty(batch + t.shape[t.ndim - core :]) for t, core in zip(inputs, _CORES, strict=True))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.n_half = inputs[5]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *output)


def _derivative(ctx: Any, d_out: Tensor | None, *rest: None) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return (None,) * 6
    inputs, kept = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    if again():
        q, k, v, a, b = inputs
        return *derivatives(balanced_apply_reference(q, k, v, a, b, ctx.n_half), inputs, d_out), None
    found = _slopes(*inputs, ctx.n_half, *kept, d_out)
    return *(sum_to(slope, t) for slope, t in zip(found, inputs, strict=True)), None


_balanced.register_autograd(_derivative, setup_context=_setup)
register_vmap(_balanced, (*_CORES, None))
register_vmap(_slopes, (*_CORES, None, 2, 2, 2, 0, 2))
