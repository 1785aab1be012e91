r"""Between the two sides of pivot attention: r numbers of use, r rows of totals, and what queries read.

Everything of size n stays in the dtype of the input; the r numbers of the pivots' masses are kept in float64, since
the remainder :math:`p_2 - p_1` of two nearly equal masses decides the column error.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["TINY", "maximal_coupling", "mean", "mean_gradient", "mix", "mix_gradient"]

# Below this a pivot's mass is underflow: nothing that reads the pivot can tell it from zero.
TINY = 1e-30


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
    _, _, stay, (spare, _) = _joined(use_q, use_k)
    return stay, spare


def mix(
    use_q: Float[Tensor, "*b r"], use_k: Float[Tensor, "*b r"], totals: Float[Tensor, "*b r c"]
) -> Float[Tensor, "*b r c"]:
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
    own = mean(use_k, totals)
    rest = spare @ own
    return rest + stay * (own - rest)


def mix_gradient(
    use_q: Float[Tensor, "*b r"],
    use_k: Float[Tensor, "*b r"],
    totals: Float[Tensor, "*b r c"],
    d_table: Float[Tensor, "*b r c"],
) -> tuple[Float[Tensor, "*b r"], Float[Tensor, "*b r"], Float[Tensor, "*b r c"]]:
    """Derivatives of ⟨`mix`, d_table⟩ along its three arguments."""
    dtype = totals.dtype
    (p1, total_q), (p2, total_k), stay, (spare, excess) = _joined(use_q, use_k)
    remain, lend = stay.to(dtype)[..., None], spare.to(dtype)[..., None]
    own = mean(use_k, totals)
    rest = lend.mT @ own
    d_stay = (d_table * (own - rest)).sum(-1).double()
    d_rest = ((1.0 - remain) * d_table).sum(-2, keepdim=True)
    d_spare = (own * d_rest).sum(-1).double()
    d_excess = (d_spare - (spare * d_spare).sum(-1, keepdim=True)) / excess
    scarce = p2 > p1
    inverse = 1.0 / p1.clamp_min(TINY)
    d_p2 = torch.where(scarce, d_excess, d_stay * inverse)
    d_p1 = torch.where(scarce, -d_excess, -d_stay * stay * inverse)
    d_use_q = (d_p1 - (p1 * d_p1).sum(-1, keepdim=True)) / total_q
    d_use_k = (d_p2 - (p2 * d_p2).sum(-1, keepdim=True)) / total_k
    d_mean_use, d_totals = mean_gradient(use_k, totals, remain * d_table + lend * d_rest)
    return d_use_q.to(dtype), d_use_k.to(dtype) + d_mean_use, d_totals


def mean(use: Float[Tensor, "*b r"], totals: Float[Tensor, "*b r c"]) -> Float[Tensor, "*b r c"]:
    """The mean of the values that a pivot holds; zero where it holds none."""
    return totals / use.clamp_min(TINY)[..., None]


def mean_gradient(
    use: Float[Tensor, "*b r"], totals: Float[Tensor, "*b r c"], d_mean: Float[Tensor, "*b r c"]
) -> tuple[Float[Tensor, "*b r"], Float[Tensor, "*b r c"]]:
    """Derivatives of ⟨`mean`, d_mean⟩ along its two arguments."""
    use = use.clamp_min(TINY)[..., None]
    d_totals = d_mean / use
    return -(d_totals * (totals / use)).sum(-1), d_totals


def _joined(use_q: Tensor, use_k: Tensor) -> tuple[Any, Any, Tensor, Any]:
    """Both uses as shares with their totals, what stays on its pivot, and where the rest reads, with its total."""
    (p1, total_q), (p2, total_k) = _normalise(use_q), _normalise(use_k)
    stay = (p2 / p1.clamp_min(TINY)).clamp(max=1.0)
    return (p1, total_q), (p2, total_k), stay, _normalise((p2 - p1).clamp_min(0.0))


def _normalise(use: Tensor) -> tuple[Tensor, Tensor]:
    use = use.double()
    total = use.sum(-1, keepdim=True).clamp_min(TINY)
    return use / total, total
