r"""Attention through a few pivots: the mathematics, and one lean `autograd.Function` for the exact form.

Queries and keys are softly assigned to r pivots, :math:`\sigma_q = \mathrm{softmax}_t(s\,q z_t + \beta_t)` and
:math:`\sigma_k` likewise. Their mean use :math:`p_1, p_2` of the pivots need not agree; the maximal coupling
:math:`W` of :math:`(p_1, p_2)` joins them, and

.. math:: \Gamma = P_1 \,\mathrm{diag}(1/p_1)\, W \,\mathrm{diag}(1/p_2)\, P_2

has exactly the marginals of the queries and of the keys, whatever the scores.

Everything of size n stays in the dtype of the input; the r numbers of the pivots' masses are kept in float64, since
the remainder :math:`p_2 - p_1` of two nearly equal masses decides the column error.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ._padding import full_precision

__all__ = ["assign", "maximal_coupling", "mix", "pivot_apply"]

# Below this a pivot's mass is underflow: nothing that reads the pivot can tell it from zero.
_TINY = 1e-30


def assign(
    x: Float[Tensor, "*b n d"],
    pivots: Float[Tensor, "*#b r d"],
    bias: Float[Tensor, "*#b r"],
    keep: Float[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n r"]:
    """Soft assignment of every point to the pivots; rows with ``keep`` zero are zero."""
    share = torch.softmax(x @ pivots.mT + bias[..., None, :], -1)
    return share if keep is None else share * keep[..., None]


def maximal_coupling(
    use_q: Float[Tensor, "*b r"], use_k: Float[Tensor, "*b r"]
) -> tuple[Float[Tensor, "*b r"], Float[Tensor, "*b r"]]:
    r"""The maximal coupling of two uses of the pivots, as shares.

    With :math:`p_1, p_2` the uses normalised to mass one, :math:`W = \mathrm{diag}(\min(p_1,p_2)) + e f^T/\delta`,
    :math:`e = (p_1 - p_2)_+`, :math:`f = (p_2 - p_1)_+`, :math:`\delta = \sum e`.

    Args:
        use_q: total assignment of the queries to each pivot.
        use_k: total assignment of the keys to each pivot.

    Returns:
        ``stay`` = min(1, p2/p1), the share of the queries' mass on a pivot that reads the same pivot, and
        ``spare`` = f/δ, where the rest reads; both float64.
    """
    p1, p2 = _normalise(use_q)[0], _normalise(use_k)[0]
    stay = (p2 / p1.clamp_min(_TINY)).clamp(max=1.0)
    spare, _ = _normalise((p2 - p1).clamp_min(0.0))
    return stay, spare


def mix(
    use_q: Float[Tensor, "*b r"], use_k: Float[Tensor, "*b r"], totals: Float[Tensor, "*b r k"]
) -> Float[Tensor, "*b r k"]:
    """What a query reads at each pivot, from the sums over queries and keys; only r-sized numbers come in.

    Args:
        use_q: total assignment of the queries to each pivot.
        use_k: total assignment of the keys to each pivot.
        totals: values summed at each pivot, weighted by the assignment of their keys.

    Returns:
        diag(1/p1) W diag(1/p2) applied to the totals (with mass one): a convex combination of values at each pivot.
    """
    stay, spare = maximal_coupling(use_q, use_k)
    stay, spare = stay.to(totals.dtype)[..., None], spare.to(totals.dtype)[..., None, :]
    mean = totals / use_k.clamp_min(_TINY)[..., None]
    rest = spare @ mean
    return rest + stay * (mean - rest)


def _normalise(use: Tensor) -> tuple[Tensor, Tensor]:
    use = use.double()
    total = use.sum(-1, keepdim=True).clamp_min(_TINY)
    return use / total, total


def pivot_apply(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m k"],
    pivots: Float[Tensor, "*#b r d"],
    bias_q: Float[Tensor, "*#b r"],
    bias_k: Float[Tensor, "*#b r"],
    keep_q: Float[Tensor, "*#b n"] | None = None,
    keep_k: Float[Tensor, "*#b m"] | None = None,
) -> Float[Tensor, "*b n k"]:
    """The exact form of pivot attention, applied to values: memory (n + m) r, twelve thin products in all.

    Args:
        q: queries; rows dropped by ``keep_q`` must be zero.
        k: keys, likewise.
        v: values; rows dropped by ``keep_k`` must be zero.
        pivots: locations, already multiplied by the scale of the scores.
        bias_q: added to the scores of the queries.
        bias_k: added to the scores of the keys.
        keep_q: 1 for queries that count, 0 for padding.
        keep_k: 1 for keys that count, 0 for padding.

    Returns:
        The barycentric projection of the values, zero on padded queries.
    """
    batch = q.shape[:-2]

    def flat(t: Tensor | None, tail: int) -> Tensor | None:
        if t is None:
            return None
        return t.expand(*batch, *t.shape[-tail:]).reshape(-1, *t.shape[-tail:])

    with full_precision(q):
        out = _PivotApply.apply(
            flat(q, 2), flat(k, 2), flat(v, 2), flat(pivots, 2),
            flat(bias_q, 1), flat(bias_k, 1), flat(keep_q, 1), flat(keep_k, 1),
        )  # fmt: skip
    return out.reshape(*batch, *out.shape[-2:])


class _PivotApply(torch.autograd.Function):
    """Softmax over r pivots on both sides, the maximal coupling between, and a backward of eight thin products."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        pivots: Tensor,
        bias_q: Tensor,
        bias_k: Tensor,
        keep_q: Tensor | None,
        keep_k: Tensor | None,
    ) -> Tensor:
        share_q = _assign(q, pivots, bias_q, keep_q)
        share_k = _assign(k, pivots, bias_k, keep_k)
        p1, total_q = _normalise(share_q.sum(1))
        p2, total_k = _normalise(share_k.sum(1))
        stay = (p2 / p1.clamp_min(_TINY)).clamp(max=1.0)
        spare, excess = _normalise((p2 - p1).clamp_min(0.0))
        mean = torch.bmm(share_k.mT, v) / _column(p2 * total_k, v).clamp_min(_TINY)
        rest = torch.bmm(spare.to(v.dtype)[:, None], mean)
        table = rest + _column(stay, v) * (mean - rest)
        ctx.save_for_backward(
            q, k, v, pivots, bias_q, bias_k, keep_q, keep_k, share_q, share_k, p1, p2, total_q, total_k,
            stay, spare, excess, mean, rest, table,
        )  # fmt: skip
        return torch.bmm(share_q, table)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _differentiable_backward(ctx.saved_tensors[:8], cotangent)
        (q, k, v, pivots, _, _, _, _, share_q, share_k, p1, p2, total_q, total_k,
         stay, spare, excess, mean, rest, table) = ctx.saved_tensors  # fmt: skip
        with full_precision(q):
            # The r-sized middle: table = rest + stay (mean - rest), rest = spare @ mean.
            d_table = torch.bmm(share_q.mT, cotangent)
            keep, lend = _column(stay, v), _column(spare, v)
            d_stay = (d_table * (mean - rest)).sum(-1).double()
            d_rest = ((1.0 - keep) * d_table).sum(1, keepdim=True)
            d_mean = keep * d_table + lend * d_rest
            d_spare = (mean * d_rest).sum(-1).double()
            d_excess = (d_spare - (spare * d_spare).sum(-1, keepdim=True)) / excess
            scarce = p2 > p1
            inverse = 1.0 / p1.clamp_min(_TINY)
            d_p2 = torch.where(scarce, d_excess, d_stay * inverse)
            d_p1 = torch.where(scarce, -d_excess, -d_stay * stay * inverse)
            d_use_q = (d_p1 - (p1 * d_p1).sum(-1, keepdim=True)) / total_q
            d_use_k = (d_p2 - (p2 * d_p2).sum(-1, keepdim=True)) / total_k
            use_k = _column(p2 * total_k, v).clamp_min(_TINY)
            d_sum = d_mean / use_k
            d_use_k = d_use_k.to(v.dtype) - (d_sum * mean).sum(-1)
            # The n-sized ends.
            d_score = torch.baddbmm(d_use_q.to(v.dtype)[:, None], cotangent, table.mT)
            d_score = torch._softmax_backward_data(d_score, share_q, -1, share_q.dtype)
            d_q = torch.bmm(d_score, pivots)
            d_pivots = torch.bmm(d_score.mT, q)
            d_bias_q = d_score.sum(1)
            d_v = torch.bmm(share_k, d_sum)
            d_score = torch.baddbmm(d_use_k[:, None], v, d_sum.mT)
            d_score = torch._softmax_backward_data(d_score, share_k, -1, share_k.dtype)
            d_k = torch.bmm(d_score, pivots)
            d_pivots = torch.baddbmm(d_pivots, d_score.mT, k)
        return d_q, d_k, d_v, d_pivots, d_bias_q, d_score.sum(1), None, None


def _differentiable_backward(inputs: tuple[Any, ...], cotangent: Tensor) -> tuple[Tensor | None, ...]:
    """The same derivative from the definition, for those who differentiate it again."""
    q, k, v, pivots, bias_q, bias_k, keep_q, keep_k = inputs
    sources = [t for t in inputs[:6] if t.requires_grad]
    share_q, share_k = _assign(q, pivots, bias_q, keep_q), _assign(k, pivots, bias_k, keep_k)
    out = share_q @ mix(share_q.sum(1), share_k.sum(1), share_k.mT @ v)
    slopes = iter(torch.autograd.grad(out, sources, cotangent, create_graph=True))
    return (*(next(slopes) if t.requires_grad else None for t in inputs[:6]), None, None)


def _assign(x: Tensor, pivots: Tensor, bias: Tensor, keep: Tensor | None) -> Tensor:
    share = torch.softmax(torch.baddbmm(bias[:, None], x, pivots.mT), -1)
    return share if keep is None else share * keep[..., None]


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.to(like.dtype)[..., None]
