"""Attention by expected sliced plans (ESPFormer): sort along every coordinate, match by rank, average by cost."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monge import kernels
from monge._arrays import recompute, row_blocks
from monge.coupling import Coupling, MixtureCoupling, MonotoneCoupling, PermutationCoupling
from monge.kernels.derivatives import distances

from ._bijections import costs_of, mean_of
from ._heads import Heads
from ._padding import blank, precise, scale_of, shares, uniform

__all__ = ["slice_weights", "sliced_attention", "soft_sliced_attention"]

# Numbers that one group of slices may gather at once.
_GROUP = 2**22


class Matches(NamedTuple):
    """The partners of queries and keys along every slice: the pieces of L one-dimensional plans.

    Args:
        i: The query of every piece; None where every slice is a bijection and piece k starts at query k.
        j: The key of every piece.
        w: The mass of every piece, the same along all slices.

    Example:
        >>> from monge.nn.couplers import Heads
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> match_slices(Heads(x, x.flip(0))).w
        tensor([0.5000, 0.5000])
    """

    i: Int[Tensor, "*b l p"] | None
    j: Int[Tensor, "*b l p"]
    w: Float[Tensor, "*b p"]


@precise
def sliced_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    inverse_temperature: float = 10.0,
    scale: float | None = None,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Doubly stochastic attention by a convex combination of d permutations, in n log n time and linear memory.

    Along coordinate l the queries and keys, sorted, are matched by rank, which is a plan $U^l$ with uniform
    marginals. Its cost $D_l = \langle U^l, \|s q_i - s k_j\|\rangle$ in the full space weighs it,
    $\sigma = \mathrm{softmax}(-\tau D)$, and the plan is $\sum_l \sigma_l U^l$. Gradients reach queries
    and keys through the costs; the permutations are piecewise constant.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        inverse_temperature: τ; zero is the plain mean over slices, infinity the cheapest slice.
        scale: $s$, $d^{-1/2}$ if None.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.

    Returns:
        One convex combination of the values per query; the mean of all of them is the mean of the values.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> out = sliced_attention(q, k, v)
        >>> torch.allclose(out.mean(-2), v.mean(-2), atol=1e-5)
        True

    Source: Shahbazi, Akbari, Salehi, Liu, NaderiAlizadeh, Kolouri, ESPFormer: Doubly-stochastic attention with expected
    sliced transport plans, arXiv 2502.07962; the linear-time form is this library's.
    """
    heads = Heads(q, k, query_padding, key_padding).checked()
    return sliced_read(heads, blank(v, key_padding), inverse_temperature, scale)


def sliced_read(heads: Heads, v: Tensor, inverse_temperature: float, scale: float | None) -> Tensor:
    """`sliced_attention` of checked heads."""
    heads, (values,) = heads.single(v)
    n, padding = heads.q.shape[-2], heads.query_padding
    plan = sliced_plan(heads, inverse_temperature, scale)
    pieces = plan.component
    if isinstance(pieces, PermutationCoupling):
        out = mean_of(values, plan.weights, pieces.perm, pieces.weights[..., 0, :])
    else:
        out = plan._matmul(values)
    count = n if padding is None else (~padding).sum(-1)[..., None, None]
    return (out * count).to(v.dtype)


def sliced_plan(heads: Heads, inverse_temperature: float, scale: float | None) -> MixtureCoupling:
    """The plans along all slices, weighted by their costs."""
    s = scale_of(heads.q, scale)
    matches = match_slices(heads)
    weights = slice_weights(heads.q * s, heads.k * s, matches, inverse_temperature)
    i, j, w = matches.i, matches.j, matches.w[..., None, :].expand(matches.j.shape)
    if i is None:
        component: Coupling = PermutationCoupling._make(perm=j, weights=w)
    else:
        component = MonotoneCoupling._make(i=i, j=j, w=w, n=heads.q.shape[-2], m=heads.k.shape[-2])
    return MixtureCoupling._make(component=component, weights=weights)


def match_slices(heads: Heads) -> Matches:
    """The one-dimensional plans along the coordinates; absent points come last and have no mass.

    Where queries and keys are equally many and share their padding, the plans are bijections.

    Args:
        heads: Queries and keys, checked.

    Example:
        >>> from monge.nn.couplers import Heads
        >>> match_slices(Heads(torch.tensor([[0.0], [2.0], [1.0]]), torch.tensor([[5.0], [7.0], [9.0]]))).j
        tensor([[0, 2, 1]])
    """
    q, k, query_padding, key_padding = heads[:4]
    order_q, order_k = _order(q, query_padding), _order(k, key_padding)
    if q.shape[-2] == k.shape[-2] and query_padding is key_padding:
        partner = torch.empty_like(order_k).scatter(-1, order_q, order_k)
        return Matches(None, partner, uniform(q, query_padding))
    i, j, w = _rank_pieces(_count(q, query_padding), _count(k, key_padding), q.shape[-2], k.shape[-2])
    i, j = (index[..., None, :].expand(*order_q.shape[:-1], index.shape[-1]) for index in (i, j))
    return Matches(order_q.gather(-1, i), order_k.gather(-1, j), w.to(q.dtype).expand(*q.shape[:-2], w.shape[-1]))


def slice_weights(
    x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b m d"], matches: Matches, inverse_temperature: float
) -> Float[Tensor, "*b l"]:
    """softmax(-τ D) of the costs of the slices; differentiable in the points, one group of slices at a time.

    Args:
        x: Queries, scaled.
        y: Keys, scaled.
        matches: What `match_slices` found.
        inverse_temperature: τ; infinity leaves the cheapest slice alone.

    Returns:
        One weight per slice; they sum to one.

    Example:
        >>> from monge.nn.couplers import Heads
        >>> x, y = torch.randn(2, 10, 4).unbind()
        >>> weights = slice_weights(x, y, match_slices(Heads(x, y)), 10.0)
        >>> weights.shape, round(weights.sum().item(), 4)
        (torch.Size([4]), 1.0)
    """

    def body(x: Tensor, y: Tensor, i: Tensor, j: Tensor, w: Tensor) -> Tensor:
        return (w[..., None, :] * torch.linalg.vector_norm(_gather(x, i) - _gather(y, j), dim=-1)).sum(-1)

    i, j, w = matches
    if i is None:
        costs = costs_of(x, y, j, w)
    else:
        groups = row_blocks(j.shape[-2], j[..., 0, :].numel() * x.shape[-1], _GROUP)
        costs = torch.cat([recompute(body, x, y, i[..., c, :], j[..., c, :], w) for c in groups], -1)
    if inverse_temperature == math.inf:
        cheapest = costs.argmin(-1, keepdim=True)
        # A cost that is no number stays one, and the derivative by the costs is zero.
        return (costs - costs) + torch.zeros_like(costs).scatter(-1, cheapest, 1.0)
    return torch.softmax(-inverse_temperature * costs, -1)


@precise
def soft_sliced_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    inverse_temperature: float = 10.0,
    softness: float = 1e-3,
    scale: float | None = None,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> Float[Tensor, "*b n c"]:
    """`sliced_attention` with soft sorting: gradients reach the permutations, the sums of rows and columns are not one.

    A sorted row is a softmax over tokens, $A_{ki} = softmax_i(-(x_{(k)} - x_i)^2 / t)$, row-stochastic only;
    for t = 1e-3 marginals may be several per cent off. Quadratic memory, cubic time. ``softness`` is t; other
    arguments as in `sliced_attention`.

    Returns:
        A weighted mean of the values per query.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> soft_sliced_attention(q, k, v, softness=1e-2).shape
        torch.Size([4, 10, 8])
    """
    heads = Heads(q, k, query_padding, key_padding).checked()
    return soft_sliced_read(heads, blank(v, key_padding), inverse_temperature, softness, scale)


def soft_sliced_read(
    heads: Heads, v: Tensor, inverse_temperature: float, softness: float, scale: float | None
) -> Tensor:
    """`soft_sliced_attention` of checked heads."""
    heads, (values,) = heads.single(v)
    return (shares(soft_plan(heads, inverse_temperature, softness, scale)) @ values).to(v.dtype)


def soft_plan(heads: Heads, inverse_temperature: float, softness: float, scale: float | None) -> Tensor:
    """The plan of `soft_sliced_attention`, slice by slice in two passes: costs, then the weighted sum.

    It is a dense matrix of mass one; its rows and columns would be uniform if the sorting were not soft.
    """
    query_padding, key_padding = heads.query_padding, heads.key_padding
    s = scale_of(heads.q, scale)
    x, y = heads.q * s, heads.k * s
    cost = distances(x, y)
    counts = _count(x, query_padding), _count(y, key_padding)
    ranks = _rank_plan(*counts, x.shape[-2], y.shape[-2]).to(x.dtype)

    def slice_plan(x: Tensor, y: Tensor) -> Tensor:
        return _soft_sort(x, query_padding, softness).mT @ ranks @ _soft_sort(y, key_padding, softness)

    def slice_cost(x: Tensor, y: Tensor, cost: Tensor) -> Tensor:
        return (slice_plan(x, y) * cost).sum((-1, -2))

    def add(total: Tensor, weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return total + weight[..., None, None] * slice_plan(x, y)

    columns = list(zip(x.unbind(-1), y.unbind(-1), strict=True))
    costs = torch.stack([recompute(slice_cost, *column, cost) for column in columns], -1)
    weights = torch.softmax(-inverse_temperature * costs, -1)
    total = torch.zeros_like(cost)
    for weight, column in zip(weights.unbind(-1), columns, strict=True):
        total = recompute(add, total, weight, *column)
    return total


def _order(x: Tensor, padding: Tensor | None) -> Tensor:
    """The tokens in descending order along every coordinate, (*b, d, n); absent ones last."""
    x = x.detach().mT
    if padding is not None:
        x = x.masked_fill(padding[..., None, :], -math.inf)
    return kernels.argsort(-x)[1]


def _count(x: Tensor, padding: Tensor | None) -> Tensor:
    if padding is None:
        return torch.full((1,), x.shape[-2], device=x.device)
    return (~padding).sum(-1, keepdim=True)


def _rank_pieces(n_q: Tensor, n_k: Tensor, n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pieces of the plan between n_q and n_k ranks of equal mass; of n + m, some empty.

    Counted in units of 1 / (n_q n_k), so that no rounding can put mass on a rank that is absent.
    """
    ends_q = torch.arange(1, n + 1, device=n_q.device).minimum(n_q) * n_k
    ends_k = torch.arange(1, m + 1, device=n_q.device).minimum(n_k) * n_q
    batch = torch.broadcast_shapes(ends_q.shape[:-1], ends_k.shape[:-1])
    levels = torch.cat([ends_q.expand(*batch, n), ends_k.expand(*batch, m)], -1).sort(-1).values
    starts = torch.nn.functional.pad(levels[..., :-1], (1, 0))
    i, j = starts // n_k.clamp_min(1), starts // n_q.clamp_min(1)
    w = (levels - starts).double() / (n_q * n_k).clamp_min(1)
    return i.clamp_max(n - 1), j.clamp_max(m - 1), w


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of (*b, m, c) at (*b, l, p): (*b, l, p, c)."""
    places = index.flatten(-2)[..., None].expand(*index.shape[:-2], -1, x.shape[-1])
    return x.gather(-2, places).unflatten(-2, index.shape[-2:])


def _rank_plan(n_q: Tensor, n_k: Tensor, n: int, m: int) -> Tensor:
    """The plan between n_q and n_k ranks of equal mass as a matrix of all n and m."""
    i, j, w = _rank_pieces(n_q, n_k, n, m)
    return w.new_zeros(*w.shape[:-1], n * m).scatter_add(-1, i * m + j, w).unflatten(-1, (n, m))


def _soft_sort(x: Tensor, padding: Tensor | None, softness: float) -> Tensor:
    """Row k is a softmax over the tokens, peaked at the token of rank k; (*b, n, n)."""
    order = x.detach() if padding is None else x.detach().masked_fill(padding, -math.inf)
    # Through the order, so that a sorted value is differentiable as the token's own.
    ranked = x.gather(-1, order.argsort(dim=-1, descending=True, stable=True))
    logits = -((ranked[..., :, None] - x[..., None, :]) ** 2) / softness
    if padding is not None:
        everything = padding.all(-1)[..., None, None]
        logits = logits.masked_fill(padding[..., None, :] & ~everything, -math.inf)
    return torch.softmax(logits, -1)
