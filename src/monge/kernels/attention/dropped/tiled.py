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

from monge._arrays import broadcast_shapes, row_blocks

from .._tiles import Tiles, flat, takes, tiled
from .reference import dropped_softmax_reference

__all__ = ["dropped_softmax_tiled", "dropping", "kept"]

# Scores of one tile: four megabytes of float32. Another number means other weights dropped by the same seed.
_TILE = 2**20
_LEVELS = 2**16


def dropping(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Whether tiles serve these: on the processor, in one full precision, a constant mask, something left."""
    constant = mask is None or not mask.requires_grad
    return constant and _share(dropout) > 0 and takes(q, k, v)


def dropped_softmax_tiled(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float) -> Tensor:
    """As the definition, keeping what `kept` says of the seed."""
    batch = broadcast_shapes(*(t.shape[:-2] for t in (q, k, v)))
    if mask is not None:
        # One mask for all heads is not written out for each.
        lead = mask.shape[:-2]
        (mask,) = flat(lead if lead.numel() == 1 else batch, [mask], [2])
    out = _dropped(*flat(batch, (q, k, v), (2, 2, 2)), mask, seed, dropout)
    return out.reshape(*batch, q.shape[-2], v.shape[-1])


def kept(heads: int, n: int, m: int, seed: Tensor, dropout: float) -> tuple[Tensor, float]:
    """Which weights are kept, (heads, n, m), and the share that is kept on average."""
    drops = [dropped for _, dropped in _drawn(heads, n, m, seed, dropout)]
    return ~torch.cat(drops), _share(dropout)


def _share(dropout: float) -> float:
    return 1.0 - round(dropout * _LEVELS) / _LEVELS


def _drawn(heads: int, n: int, m: int, seed: Tensor, dropout: float) -> Iterator[tuple[slice, Tensor]]:
    """The tiles in order, and what is dropped of each."""
    generator = torch.Generator().manual_seed(int(seed))
    least = round(dropout * _LEVELS) - _LEVELS // 2
    for tile in row_blocks(heads, n * m, _TILE):
        count = tile.stop - tile.start
        words = torch.empty(-(-count * n * m // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
        levels = words.view(torch.int16)[: count * n * m].view(count, n, m)
        yield tile, levels < least


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, tile: slice) -> Tensor:
    scores = q[tile] @ k[tile].mT
    if mask is not None:
        mask = mask if len(mask) == 1 else mask[tile]
        scores = scores.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else scores.add_(mask)
    scores = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(-1, keepdim=True))


def _forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float) -> Tiles:
    for tile, dropped in _drawn(len(q), q.shape[-2], k.shape[-2], seed, dropout):
        weights = _weights(q, k, mask, tile).masked_fill_(dropped, 0.0)
        yield tile, ((weights @ v[tile]).div_(_share(dropout)),)


def _backward(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float, out: Tensor, d_out: Tensor
) -> Tiles:
    for tile, dropped in _drawn(len(q), q.shape[-2], k.shape[-2], seed, dropout):
        weights = _weights(q, k, mask, tile)
        felt = d_out[tile] / _share(dropout)
        stayed = weights.masked_fill(dropped, 0.0)
        # Thin matrices first, in the order of storage that BLAS is fast at.
        d_v = (felt.mT @ stayed).mT
        own = weights.mul_((d_out[tile] * out[tile]).sum(-1, keepdim=True))
        d_scores = stayed.mul_(felt @ v[tile].mT).sub_(own)
        yield tile, (d_scores @ k[tile], (q[tile].mT @ d_scores).mT, d_v)


def _allocate(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor]:
    return (v.new_empty(*q.shape[:-1], v.shape[-1]),)


def _definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, seed: Tensor, dropout: float) -> Tensor:
    stayed, share = kept(len(q), q.shape[-2], k.shape[-2], seed, dropout)
    return dropped_softmax_reference(q, k, v, mask, stayed, share)


_dropped = tiled(
    "dropped_softmax",
    "Tensor[heads n d] q, Tensor[heads m d] k, Tensor[heads m c] v, Tensor?[#heads #n #m; bool same] mask, "
    "Tensor[; int64] seed, float[0 <= dropout < 1] dropout",
    (2, 2, 2),
    {"out": "heads n c"},
    _allocate,
    _forward,
    _backward,
    _definition,
)
