"""Sums over several bijections of tokens, a few heads at a time, with gradients that are gathered, never scattered.

Bijection l sends query i to key $j_l(i)$. A derivative by a key collects what its own inverse images gave, so
both directions read whole rows in order of writing, and nothing larger than a tile is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge.kernels.derivatives import again, derivatives

__all__ = ["costs_of", "mean_of"]

# Numbers of one tile: on a processor it should stay in cache, elsewhere launches should be few.
_TILE = {"cpu": 2**20, "cuda": 2**26}


def costs_of(
    x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b n d"], partner: Int[Tensor, "*b l n"], w: Float[Tensor, "*b n"]
) -> Float[Tensor, "*b l"]:
    r"""The mean distance of partners along every bijection, $D_l = \sum_i w_i \|x_i - y_{j_l(i)}\|$.

    The derivative of a distance of zero is zero; ``w`` is constant.
    """
    return _apply(_Costs, partner, x, y, w)


def mean_of(
    v: Float[Tensor, "*b n c"], weights: Float[Tensor, "*b l"], partner: Int[Tensor, "*b l n"], w: Float[Tensor, "*b n"]
) -> Float[Tensor, "*b n c"]:
    r"""What every query receives: $w_i \sum_l \sigma_l v_{j_l(i)}$; ``w`` is constant."""
    return _apply(_Mean, partner, v, weights, w)


def _apply(function: Any, *arguments: Tensor) -> Tensor:
    lead = arguments[0].shape[:-2]
    keep = [t.ndim - len(lead) for t in arguments]
    flat = [t.reshape(math.prod(lead), *t.shape[-k:]) for t, k in zip(arguments, keep, strict=True)]
    out = function.apply(*flat)
    return out.reshape(*lead, *out.shape[1:])


def _tile_by_tile(definition: Callable[..., Tensor], partner: Tensor, *tensors: Tensor) -> Tensor:
    """The definition of a few heads at a time."""
    return torch.cat([definition(partner[tile], *(t[tile] for t in tensors)) for tile in _tiles(partner, tensors[0])])


def _costs(partner: Tensor, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    gaps = _rows(y, partner).sub_(x[:, None])
    return (torch.linalg.vector_norm(gaps, dim=-1) * w[:, None]).sum(-1)


class _Costs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return _tile_by_tile(_costs, *tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        partner, x, y, w = ctx.saved_tensors
        if again():
            return None, *derivatives(_costs(partner, x, y, w), (x, y), gradient), None
        d_x, d_y, inverse = torch.empty_like(x), torch.empty_like(y), _inverse(partner)
        for tile in _tiles(partner, x):
            gaps = _rows(y[tile], partner[tile]).sub_(x[tile, None])
            size = torch.linalg.vector_norm(gaps, dim=-1)
            share = gradient[tile, :, None] * w[tile, None] / size.masked_fill(size == 0, 1.0)
            pull = gaps.mul_(share[..., None])
            d_x[tile] = -pull.sum(1)
            start = torch.arange(pull.shape[1], device=pull.device)[:, None] * pull.shape[2]
            d_y[tile] = _rows(pull.flatten(1, 2), inverse[tile] + start).sum(1)
        return None, d_x, d_y, None


def _mean(partner: Tensor, v: Tensor, weights: Tensor, w: Tensor) -> Tensor:
    return _rows(v, partner).mul_(weights[..., None, None]).sum(1).mul_(w[..., None])


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return _tile_by_tile(_mean, *tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        partner, v, weights, w = ctx.saved_tensors
        if again():
            return None, *derivatives(_mean(partner, v, weights, w), (v, weights), gradient), None
        d_v, d_weights, inverse = torch.empty_like(v), torch.empty_like(weights), _inverse(partner)
        for tile in _tiles(partner, v):
            felt = gradient[tile] * w[tile, :, None]
            d_weights[tile] = _rows(v[tile], partner[tile]).mul_(felt[:, None]).sum((-1, -2))
            d_v[tile] = _rows(felt, inverse[tile]).mul_(weights[tile, :, None, None]).sum(1)
        return None, d_v, d_weights, None


def _tiles(partner: Tensor, rows: Tensor) -> Iterator[slice]:
    heads = max(1, _TILE.get(partner.device.type, 2**20) // max(1, partner.shape[1:].numel() * rows.shape[-1]))
    return (slice(start, start + heads) for start in range(0, max(1, len(partner)), heads))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of (b, m, c) at (b, l, n): (b, l, n, c), copied whole."""
    start = torch.arange(len(x), device=x.device)[:, None, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (index + start).flatten()).view(*index.shape, x.shape[-1])


def _inverse(partner: Tensor) -> Tensor:
    places = torch.arange(partner.shape[-1], device=partner.device).expand_as(partner)
    return torch.empty_like(partner).scatter_(-1, partner, places)
