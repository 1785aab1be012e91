r"""Attention through a few pivots: tokens packed into r pivots, joined there, and unpacked.

Queries and keys are softly assigned to r pivots, :math:`\sigma_q = \mathrm{softmax}_t(q z_t + \beta_t)` and
:math:`\sigma_k` likewise. Their mean use :math:`p_1, p_2` of the pivots need not agree; the maximal coupling
:math:`W` of :math:`(p_1, p_2)` joins them, and

.. math:: \Gamma = P_1 \,\mathrm{diag}(1/p_1)\, W \,\mathrm{diag}(1/p_2)\, P_2

has exactly the marginals of the queries and of the keys, whatever the scores.

Only r-sized sums pass between the two sides, so a sharded sequence needs to add up nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ...derivatives import again, derivatives
from . import mixing, operators, reference
from .mixing import maximal_coupling, mix
from .reference import Side, assign

__all__ = ["Total", "assign", "maximal_coupling", "mix", "occupancy", "on_device", "pivot_apply"]

Total = Callable[[Tensor], Tensor]


def on_device(tokens: Sequence[Tensor], pivots: Tensor | None) -> bool:
    """Whether kernels of CUDA take these tokens and pivots: in float32 or half precision, not too wide or many."""
    return operators.takes(tokens, pivots)


@transformable
def pivot_apply(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    pivots: Float[Tensor, "*#b r d"] | None,
    bias_q: Float[Tensor, "*#b r"],
    bias_k: Float[Tensor, "*#b r"],
    unpadded_q: Float[Tensor, "*#b n"] | None = None,
    unpadded_k: Float[Tensor, "*#b m"] | None = None,
    *,
    exact: bool = True,
    total: Total | None = None,
) -> Float[Tensor, "*b n c"]:
    """Pivot attention applied to values: memory (n + m) r, twelve thin products in all.

    On CUDA, tokens of one dtype, float32 or half, up to 128 wide, and up to 64 pivots go through fused kernels that
    keep nothing of size (n + m) r; everything else through operations of torch.

    Args:
        q: queries; rows dropped by ``unpadded_q`` must be zero.
        k: keys, likewise.
        v: values; rows dropped by ``unpadded_k`` must be zero.
        pivots: locations, already multiplied by the scale of the scores; None if ``q`` and ``k`` hold scores.
        bias_q: added to the scores of the queries.
        bias_k: added to the scores of the keys.
        unpadded_q: 1 for queries that count, 0 for padding.
        unpadded_k: 1 for keys that count, 0 for padding.
        exact: join the sides by the maximal coupling; else a query reads the mean of each pivot's keys.
        total: differentiable sum over the shards of the sequence, if this is one of several.

    Returns:
        What every query reads, zero on padded queries.
    """
    return _apply(_Pivots, (q, k, v), (pivots, bias_q, bias_k), (unpadded_q, unpadded_k), exact, total)


@transformable
def occupancy(
    x: Float[Tensor, "*b n d"],
    pivots: Float[Tensor, "*#b r d"] | None,
    bias: Float[Tensor, "*#b r"],
    unpadded: Float[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b r"]:
    """Total assignment of the tokens to every pivot: what one round of balancing needs to know."""
    return _apply(_Occupancy, (x,), (pivots, bias), (unpadded,))


def _apply(
    function: Any,
    tokens: tuple[Tensor, ...],
    shared: tuple[Tensor | None, ...],
    unpadded: tuple[Tensor | None, ...],
    *rest: Any,
) -> Tensor:
    """Calls a function with the dimensions of the batch made two for the kernels of CUDA, one for batched products."""
    batch = tokens[0].shape[:-2]
    fused = on_device(tokens, shared[0])
    lead = (math.prod(batch[:-1]), batch[-1] if batch else 1) if fused else (math.prod(batch),)

    def flat(t: Tensor | None, tail: int) -> Tensor | None:
        return None if t is None else t.expand(*batch, *t.shape[-tail:]).reshape(*lead, *t.shape[-tail:])

    with torch.autocast(device_type=tokens[0].device.type, enabled=False):
        arguments = [flat(t, 2) for t in tokens]
        arguments += [flat(shared[0], 2), *(flat(t, 1) for t in shared[1:]), *(flat(t, 1) for t in unpadded)]
        out = function.apply(*arguments, *rest, operators if fused else reference)
    return out.reshape(*batch, *out.shape[len(lead) :])


class _Pivots(torch.autograd.Function):
    """Two sides, what joins them between, and a backward of eight thin products.

    ``ends`` holds what is done with one side, `pack`, `unpack` and `gradient`, and `mix` for what joins two.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, exact, total, ends = arguments
        v, queries, keys = _sides(tensors)
        share_q, use_q, _ = ends.pack(queries, None)
        share_k, use_k, totals = ends.pack(keys, v)
        use_q, use_k, totals = _add_up(use_q, use_k, totals, total)
        table = ends.mix(use_q, use_k, totals) if exact else mixing.mean(use_k, totals)
        ctx.exact, ctx.total, ctx.ends = exact, total, ends
        ctx.save_for_backward(*tensors, share_q, share_k, use_q, use_k, totals, table)
        return ends.unpack(queries, table, share_q)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, share_q, share_k, use_q, use_k, totals, table = ctx.saved_tensors
        if again():
            return _differentiable_backward(tensors, cotangent, ctx.exact, ctx.total)
        ends, (v, queries, keys) = ctx.ends, _sides(tensors)
        with torch.autocast(device_type=v.device.type, enabled=False):
            _, _, d_table = ends.pack(queries, cotangent, share_q)
            d_table = d_table if ctx.total is None else ctx.total(d_table)
            if ctx.exact:
                d_use_q, d_use_k, d_totals = ends.mix_gradient(use_q, use_k, totals, d_table)
            else:
                d_use_k, d_totals = mixing.mean_gradient(use_k, totals, d_table)
                d_use_q = torch.zeros_like(use_q)
            d_q, d_pivots, d_bias_q = ends.gradient(queries, cotangent, table, d_use_q, share_q)
            d_k, d_pivots_k, d_bias_k = ends.gradient(keys, v, d_totals, d_use_k, share_k)
            d_pivots = None if d_pivots is None else d_pivots + d_pivots_k
            d_v = ends.unpack(keys, d_totals, share_k)
        return d_q, d_k, d_v, d_pivots, d_bias_q, d_bias_k, *(None,) * 5


def _sides(tensors: Sequence[Any]) -> tuple[Tensor, Side, Side]:
    """The values, and the sides of the queries and of the keys, of the tensors that `pivot_apply` takes."""
    q, k, v, pivots, bias_q, bias_k, unpadded_q, unpadded_k = tensors
    return v, Side(q, pivots, bias_q, unpadded_q), Side(k, pivots, bias_k, unpadded_k)


def _add_up(use_q: Tensor, use_k: Tensor, totals: Tensor, total: Total | None) -> tuple[Tensor, Tensor, Tensor]:
    """The sums over all shards, in one message."""
    if total is None:
        return use_q, use_k, totals
    summed = total(torch.cat([totals, use_q[..., None], use_k[..., None]], -1))
    return summed[..., -2], summed[..., -1], summed[..., :-2]


def _differentiable_backward(
    inputs: Sequence[Any], cotangent: Tensor, exact: bool, total: Total | None
) -> tuple[Tensor | None, ...]:
    """The same derivative from the definition, for those who differentiate it again."""
    v, queries, keys = _sides(inputs)
    share_q, share_k = assign(*queries), assign(*keys)
    use_q, use_k, totals = _add_up(share_q.sum(-2), share_k.sum(-2), share_k.mT @ v.to(share_k.dtype), total)
    out = (share_q @ (mix(use_q, use_k, totals) if exact else mixing.mean(use_k, totals))).to(v.dtype)
    return *derivatives(out, inputs[:6], cotangent), *(None,) * 5


class _Occupancy(torch.autograd.Function):
    """The use of the pivots by one side."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *side, ends = arguments
        share, use, _ = ends.pack(Side(*side), None)
        ctx.ends = ends
        ctx.save_for_backward(*side, share)
        return use

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        *side, share = ctx.saved_tensors
        if again():
            return *derivatives(assign(*side).sum(-2), side[:3], cotangent), None, None
        with torch.autocast(device_type=cotangent.device.type, enabled=False):
            return *ctx.ends.gradient(Side(*side), None, None, cotangent, share), None, None
