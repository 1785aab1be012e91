r"""Dropped softmax a few heads at a time, with one random number of sixteen bits a weight.

With P the softmax and M the weights that are kept, each :math:`1/s` or zero, the output is :math:`O = (P \odot M) V`,
and

.. math:: \bar S = (P \odot M) \odot \bar O V^T - \mathrm{diag}(\bar O \odot O) P,

so backward needs nothing but the inputs, the output and the seed of M.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes

from ..._extension import FULL_PRECISION
from ..._operator import operator
from ...derivatives import again, derivatives
from .reference import dropped_softmax_reference

__all__ = ["dropped_softmax_tiled", "dropping", "kept"]

# Scores of one tile: four megabytes of float32. Another number means other weights dropped by the same seed.
_TILE = 2**20
_LEVELS = 2**16


def dropping(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Whether tiles serve these: on the processor, in one full precision, a constant mask, something left."""
    alike = all(t.device.type == "cpu" and t.dtype == q.dtype and t.numel() for t in (q, k, v))
    constant = mask is None or not mask.requires_grad
    return alike and constant and q.dtype in FULL_PRECISION and _share(dropout) > 0


def dropped_softmax_tiled(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float) -> Tensor:
    """As the definition, keeping what `kept` says of the seed."""
    batch = broadcast_shapes(*(t.shape[:-2] for t in (q, k, v)))
    flat = [t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (q, k, v)]
    if mask is not None:
        lead = mask.shape[:-2]
        # One mask for all heads is not written out for each.
        mask = mask if lead.numel() == 1 else mask.expand(*batch, *mask.shape[-2:])
        mask = mask.reshape(-1, *mask.shape[-2:])
    return _dropped(*flat, mask, seed, dropout).reshape(*batch, q.shape[-2], v.shape[-1])


def kept(heads: int, n: int, m: int, seed: Tensor, dropout: float) -> tuple[Tensor, float]:
    """Which weights are kept, (heads, n, m), and the share that is kept on average."""
    drops = [dropped for _, dropped in _drawn(heads, n, m, seed, dropout)]
    return ~torch.cat(drops), _share(dropout)


def _share(dropout: float) -> float:
    return 1.0 - round(dropout * _LEVELS) / _LEVELS


def _drawn(heads: int, n: int, m: int, seed: Tensor, dropout: float) -> Iterator[tuple[slice, Tensor]]:
    """The tiles in order, and what is dropped of each."""
    generator = torch.Generator().manual_seed(int(seed))
    size = max(1, _TILE // (n * m))
    least = round(dropout * _LEVELS) - _LEVELS // 2
    for start in range(0, heads, size):
        count = min(size, heads - start)
        words = torch.empty(-(-count * n * m // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
        levels = words.view(torch.int16)[: count * n * m].view(count, n, m)
        yield slice(start, start + count), levels < least


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = q @ k.mT
    if mask is not None:
        scores = scores.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else scores.add_(mask)
    scores = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(-1, keepdim=True))


def _of(mask: Tensor | None, tile: slice) -> Tensor | None:
    return mask if mask is None or len(mask) == 1 else mask[tile]


def _run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float) -> Tensor:
    out = v.new_empty(*q.shape[:-1], v.shape[-1])
    for tile, dropped in _drawn(len(q), q.shape[-2], k.shape[-2], seed, dropout):
        weights = _weights(q[tile], k[tile], _of(mask, tile)).masked_fill_(dropped, 0.0)
        out[tile] = (weights @ v[tile]).div_(_share(dropout))
    return out


def _run_gradients(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float, out: Tensor, d_out: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    d_q, d_k, d_v = (t.new_empty(t.shape) for t in (q, k, v))
    for tile, dropped in _drawn(len(q), q.shape[-2], k.shape[-2], seed, dropout):
        weights = _weights(q[tile], k[tile], _of(mask, tile))
        felt = d_out[tile] / _share(dropout)
        stayed = weights.masked_fill(dropped, 0.0)
        # Thin matrices first, in the order of storage that BLAS is fast at.
        d_v[tile] = (felt.mT @ stayed).mT
        own = weights.mul_((d_out[tile] * out[tile]).sum(-1, keepdim=True))
        d_scores = stayed.mul_(felt @ v[tile].mT).sub_(own)
        d_q[tile] = d_scores @ k[tile]
        d_k[tile] = (q[tile].mT @ d_scores).mT
    return d_q, d_k, d_v


def _derivative(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
    (q, k, v, mask, seed, out), (dropout,) = ctx.saved_tensors, ctx.plain
    if again():
        stayed, share = kept(len(q), q.shape[-2], k.shape[-2], seed, dropout)
        defined = dropped_softmax_reference(q, k, v, mask, stayed, share)
        return *derivatives(defined, (q, k, v), d_out), None, None, None
    return *_gradients(q, k, v, mask, seed, dropout, out, d_out), None, None, None


_INPUTS = "Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor seed, float dropout"
_dropped = operator(
    f"dropped_softmax({_INPUTS}) -> Tensor",
    _run,
    lambda q, k, v, *rest: v.new_empty(*q.shape[:-1], v.shape[-1]),
    backward=_derivative,
)
_gradients = operator(
    f"dropped_softmax_gradients({_INPUTS}, Tensor out, Tensor d_out) -> (Tensor, Tensor, Tensor)",
    _run_gradients,
    lambda q, k, v, *rest: tuple(t.new_empty(t.shape) for t in (q, k, v)),
)
