"""Balanced attention a few heads at a time: scores are made, balanced and left in cache, in forward and backward.

A tile whose scores are within the range of scaling is scaled, the others go through the logarithmic form. Neither needs
a graph, and nothing of the size of all pairs is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, rows_per_block

from ..._extension import FULL_PRECISION
from ..._operator import operator, sum_to
from ...derivatives import again, derivatives
from . import logarithmic, scaling
from .reference import balanced_apply_reference

__all__ = ["balanced_apply_tiled", "takes"]

# Dimensions of q, k, v, a and b besides those of the batch.
_CORES = (2, 2, 2, 1, 1)


def takes(*tensors: Tensor) -> bool:
    """Whether tiles serve these: on the processor, all of one full precision."""
    first = tensors[0]
    same = all(t.device.type == "cpu" and t.dtype == first.dtype for t in tensors)
    return same and first.dtype in FULL_PRECISION and all(t.numel() for t in tensors)


def balanced_apply_tiled(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> Tensor:
    """As `balanced_apply_reference`."""
    return _balanced(q, k, v, a, b, n_half)[0]


def _batch(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor) -> torch.Size:
    return broadcast_shapes(*(t.shape[:-2] for t in (q, k, v)), *(t.shape[:-1] for t in (a, b)))


def _flat(batch: torch.Size, inputs: Sequence[Tensor], cores: Sequence[int] = _CORES) -> list[Tensor]:
    """One dimension of the batch, before those that a head has of its own."""
    return [
        t.expand(batch + t.shape[t.ndim - core :]).reshape(batch.numel(), *t.shape[t.ndim - core :])
        for t, core in zip(inputs, cores, strict=True)
    ]


def _tiles(q: Tensor, k: Tensor) -> list[slice]:
    heads = rows_per_block(4 * q.shape[-2] * k.shape[-2])
    return [slice(start, start + heads) for start in range(0, len(q), heads)]


def _run(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> tuple[Tensor, ...]:
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
    return tuple(t.reshape(batch + t.shape[1:]) for t in (out, rows, columns, scaled))


def _allocate(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> tuple[Tensor, ...]:
    batch = _batch(q, k, v, a, b)
    return (
        v.new_empty(*batch, q.shape[-2], v.shape[-1]),
        a.new_empty(*batch, n_half // 2, a.shape[-1]),
        b.new_empty(*batch, n_half // 2, b.shape[-1]),
        a.new_empty(batch, dtype=torch.bool),
    )


def _run_gradients(*arguments: Any) -> tuple[Tensor, ...]:
    """Derivatives by the five inputs, each of the whole batch."""
    batch, n_half = _batch(*arguments[:5]), arguments[5]
    q, k, v, a, b = _flat(batch, arguments[:5])
    out, rows, columns, scaled, d_out = _flat(batch, arguments[6:], (2, 2, 2, 0, 2))
    gradients = tuple(t.new_empty(t.shape) for t in (q, k, v, a, b))
    for tile in _tiles(q, k):
        form = scaling if bool(scaled[tile].all()) else logarithmic
        d_scores, *rest = form.backward(
            q[tile] @ k[tile].mT, v[tile], a[tile], b[tile], n_half, rows[tile], columns[tile], out[tile], d_out[tile]
        )
        # Thin times matrix, in the order of storage that BLAS is fast at.
        found = (d_scores @ k[tile], (q[tile].mT @ d_scores).mT, *rest)
        for gradient, part in zip(gradients, found, strict=True):
            gradient[tile] = part
    return tuple(t.reshape(batch + t.shape[1:]) for t in gradients)


def _allocate_gradients(*arguments: Any) -> tuple[Tensor, ...]:
    inputs = arguments[:5]
    batch = _batch(*inputs)
    return tuple(t.new_empty(batch + t.shape[t.ndim - core :]) for t, core in zip(inputs, _CORES, strict=True))


def _derivative(ctx: Any, d_out: Tensor, *rest: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    inputs, kept = saved[:5], saved[5:]
    if again():
        return *derivatives(balanced_apply_reference(*inputs, *ctx.plain), inputs, d_out), None
    found = _gradients(*inputs, *ctx.plain, *kept, d_out)
    return *(sum_to(gradient, t) for gradient, t in zip(found, inputs, strict=True)), None


_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor a, Tensor b, int n_half"
_balanced = operator(
    f"balanced({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor)",
    _run,
    _allocate,
    backward=_derivative,
    cores=(*_CORES, None),
)
_gradients = operator(
    f"balanced_gradients({_INPUTS}, Tensor out, Tensor rows, Tensor columns, Tensor scaled, Tensor d_out) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_gradients,
    _allocate_gradients,
    cores=(*_CORES, None, 2, 2, 2, 0, 2),
)
