"""Sums over several bijections of tokens, a few heads at a time, with gradients that are gathered, never scattered.

Bijection l sends query i to key $j_l(i)$. A derivative by a key collects what its own inverse images gave, so
both directions read whole rows in order of writing, and nothing larger than a tile is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import row_blocks
from monge.kernels.derivatives import again, derivatives

# Numbers of one tile: on a processor it should stay in cache, elsewhere launches should be few.
_TILE = {"cpu": 2**20, "cuda": 2**26}
_Function = Callable[..., Any]


def costs_of(
    x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b n d"], partner: Int[Tensor, "*b l n"], w: Float[Tensor, "*b n"]
) -> Float[Tensor, "*b l"]:
    r"""The mean distance of partners along every bijection, $D_l = \sum_i w_i \|x_i - y_{j_l(i)}\|$.

    The derivative of a distance of zero is zero; ``w`` is constant.
    """
    return _apply(_costs, _cost_slopes, partner, x, y, w)


def mean_of(
    v: Float[Tensor, "*b n c"], weights: Float[Tensor, "*b l"], partner: Int[Tensor, "*b l n"], w: Float[Tensor, "*b n"]
) -> Float[Tensor, "*b n c"]:
    r"""What every query receives: $w_i \sum_l \sigma_l v_{j_l(i)}$; ``w`` is constant."""
    return _apply(_mean, _mean_slopes, partner, v, weights, w)


def _costs(partner: Tensor, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    gaps = _rows(y, partner).sub_(x[:, None])
    return (torch.linalg.vector_norm(gaps, dim=-1) * w[:, None]).sum(-1)


def _cost_slopes(
    gradient: Tensor, inverse: Tensor, partner: Tensor, x: Tensor, y: Tensor, w: Tensor
) -> tuple[Tensor, Tensor]:
    gaps = _rows(y, partner).sub_(x[:, None])
    size = torch.linalg.vector_norm(gaps, dim=-1)
    pull = gaps.mul_((gradient[..., None] * w[:, None] / size.masked_fill(size == 0, 1.0))[..., None])
    start = torch.arange(pull.shape[1], device=pull.device)[:, None] * pull.shape[2]
    return -pull.sum(1), _rows(pull.flatten(1, 2), inverse + start).sum(1)


def _mean(partner: Tensor, v: Tensor, weights: Tensor, w: Tensor) -> Tensor:
    return _rows(v, partner).mul_(weights[..., None, None]).sum(1).mul_(w[..., None])


def _mean_slopes(
    gradient: Tensor, inverse: Tensor, partner: Tensor, v: Tensor, weights: Tensor, w: Tensor
) -> tuple[Tensor, Tensor]:
    felt = gradient * w[..., None]
    d_v = _rows(felt, inverse).mul_(weights[..., None, None]).sum(1)
    return d_v, _rows(v, partner).mul_(felt[:, None]).sum((-1, -2))


def _apply(definition: _Function, slopes: _Function, *arguments: Tensor) -> Tensor:
    lead = arguments[0].shape[:-2]
    keep = [t.ndim - len(lead) for t in arguments]
    flat = [t.reshape(math.prod(lead), *t.shape[-k:]) for t, k in zip(arguments, keep, strict=True)]
    out: Tensor = _Tiled.apply(definition, slopes, *flat)  # type: ignore[assignment]
    return out.reshape(*lead, *out.shape[1:])


class _Tiled(torch.autograd.Function):
    """A function of bijections and three tensors, the last one constant, and its slopes, a few heads at a time."""

    @staticmethod
    def forward(ctx: Any, definition: _Function, slopes: _Function, *tensors: Tensor) -> Tensor:
        ctx.definition, ctx.slopes = definition, slopes
        ctx.save_for_backward(*tensors)
        return torch.cat([definition(*(t[tile] for t in tensors)) for tile in _tiles(*tensors[:2])])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        if again():
            found = derivatives(ctx.definition(*tensors), tensors[1:3], gradient)
        else:
            given = (gradient, _inverse(tensors[0]), *tensors)
            parts = [ctx.slopes(*(t[tile] for t in given)) for tile in _tiles(*tensors[:2])]
            found = [torch.cat(part) for part in zip(*parts, strict=True)]
        return None, None, None, *found, None


def _tiles(partner: Tensor, rows: Tensor) -> list[slice]:
    numbers = partner.shape[1:].numel() * rows.shape[-1]
    return row_blocks(max(1, len(partner)), numbers, _TILE.get(partner.device.type, 2**20))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of (b, m, c) at (b, l, n): (b, l, n, c), copied whole."""
    start = torch.arange(len(x), device=x.device)[:, None, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (index + start).flatten()).view(*index.shape, x.shape[-1])


def _inverse(partner: Tensor) -> Tensor:
    places = torch.arange(partner.shape[-1], device=partner.device).expand_as(partner)
    return torch.empty_like(partner).scatter_(-1, partner, places)
