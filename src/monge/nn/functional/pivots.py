"""Attention through learned pivots (LOTFormer): the exact form and the entropic one."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..._checks import check_choice
from ...errors import InputError, ShapeError
from ._padding import absent, at_least_single, blank, full_precision, keep, scale_of, uniform
from ._pivot import assign, maximal_coupling, pivot_apply
from ._sinkhorn import balance_thin

__all__ = ["entropic_pivot_attention", "entropic_pivot_factors", "pivot_attention", "pivot_factors"]

_TINY = 1e-30
GRADIENTS = ("unrolled", "implicit")


def pivot_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    iterations: int = 0,
    gradient: str = "unrolled",
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Doubly stochastic attention of rank r in linear time, exact at any number of iterations.

    Queries and keys are assigned to r pivots, P1 = diag(a) softmax_t(s q_i·z_t/ε + g_t) and P2^T likewise for the
    keys; the uses p1, p2 of the pivots are joined by their maximal coupling W, and the plan is
    :math:`P_1\,\mathrm{diag}(1/p_1)\,W\,\mathrm{diag}(1/p_2)\,P_2`: non-negative, of rank at most r, with uniform
    marginals to rounding whatever the scores. ``iterations`` Sinkhorn rounds move the uses towards ``mass``; with none,
    g = log mass.

    Args:
        q: queries.
        k: keys.
        v: values.
        pivots: locations; without leading dimensions, or with those of the heads.
        log_mass: logarithm of the mass each pivot should carry; uniform if None.
        scale: s, d^{-1/2} if None.
        epsilon: regularisation of the two assignments.
        iterations: rounds of balancing before the exact step.
        gradient: "unrolled" through the rounds, or "implicit" at their fixed point.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.

    Returns:
        One convex combination of the values per query, with the values' mean as their mean.

    Raises:
        InputError: unknown ``gradient``.
        ShapeError: the pivots do not fit.

    Example:
        >>> import torch
        >>> from monge.nn.functional import pivot_attention
        >>> q, k, v, pivots = (torch.randn(n, 16) for n in (100, 100, 100, 8))
        >>> torch.allclose(pivot_attention(q, k, v, pivots).mean(0), v.mean(0), atol=1e-5)
        True

    Source: LOTFormer, arXiv 2509.23436, for gluing through pivots; the exact step is this library's.
    """
    check_choice("gradient", gradient, GRADIENTS)
    dtype = v.dtype
    q, k, v, pivots = at_least_single(q, k, v, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        sides = ((blank(q, query_padding), query_padding), (blank(k, key_padding), key_padding))
        bias_q, bias_k = (_potential(x, pad, pivots, log_mass, iterations, gradient) for x, pad in sides)
        out = pivot_apply(
            sides[0][0], sides[1][0], blank(v, key_padding), pivots, bias_q, bias_k,
            keep(query_padding, q), keep(key_padding, k),
        )  # fmt: skip
    return out.to(dtype)


def pivot_factors(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    iterations: int = 0,
    gradient: str = "unrolled",
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    """The plan of `pivot_attention` as Q R^T: rows of Q sum to a, columns of R to one.

    Arguments as in `pivot_attention`. Returns Q = P1 and R = (diag(1/p1) W diag(1/p2) P2)^T.
    """
    check_choice("gradient", gradient, GRADIENTS)
    q, k, pivots = at_least_single(q, k, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        shares = []
        for x, padding in ((q, query_padding), (k, key_padding)):
            x = blank(x, padding)
            bias = _potential(x, padding, pivots, log_mass, iterations, gradient)
            shares.append(assign(x, pivots, bias, keep(padding, x)))
        share_q, share_k = shares
        use_q, use_k = share_q.sum(-2), share_k.sum(-2)
        stay, spare = (part.to(q.dtype)[..., None, :] for part in maximal_coupling(use_q, use_k))
        left = share_q / use_q.sum(-1).clamp_min(_TINY)[..., None, None]
        mean = share_k / use_k.clamp_min(_TINY)[..., None, :]
        rest = mean @ spare.mT
        return left, rest + stay * (mean - rest)


def entropic_pivot_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    n_half: int = 5,
    gradient: str = "unrolled",
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> Float[Tensor, "*b n c"]:
    """Two entropic problems glued through pivots, as published: rows exact, columns at convergence only.

    An odd number ``n_half`` of half-steps each, which begin and end on the first marginal: that of the queries, then
    that of the pivots. ``n_half=1`` is attention packed by the pivots and unpacked again. Other arguments as in
    `pivot_attention`.

    Returns:
        One convex combination of the values per query.

    Source: LOTFormer, arXiv 2509.23436.
    """
    dtype = v.dtype
    (v,) = at_least_single(v)
    left, right = entropic_pivot_factors(
        q, k, pivots, log_mass=log_mass, scale=scale, epsilon=epsilon, n_half=n_half, gradient=gradient,
        query_padding=query_padding, key_padding=key_padding,
    )  # fmt: skip
    with full_precision(q):
        return (left @ (right.mT @ blank(v, key_padding).to(right.dtype))).to(dtype)


def entropic_pivot_factors(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    n_half: int = 5,
    gradient: str = "unrolled",
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    """diag(1/a) P1 and (diag(1/p) P2)^T of `entropic_pivot_attention`: both with rows, or columns, that sum to one."""
    check_choice("gradient", gradient, GRADIENTS)
    check_odd(n_half)
    q, k, pivots = at_least_single(q, k, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        log_mass = log_mass.expand(*q.shape[:-2], log_mass.shape[-1])
        q, k = blank(q, query_padding), blank(k, key_padding)
        (left, _), (share, use) = (
            _balanced_shares(x, padding, pivots, log_mass, n_half, gradient, own)
            for x, padding, own in ((q, query_padding, True), (k, key_padding, False))
        )
        return left, share / use.clamp_min(torch.finfo(use.dtype).tiny)[..., None, :]


def _balanced_shares(
    x: Tensor, padding: Tensor | None, pivots: Tensor, log_mass: Tensor, n_half: int, gradient: str, own: bool
) -> tuple[Tensor, Tensor]:
    """Shares of the pivots in every point after the half-steps of one problem, and the sum of each pivot.

    ``own``: the points' side goes first, and last. Otherwise the pivots' side does; dividing the shares by the sums is
    its last half-step.
    """
    scores, rounds = x @ pivots.mT, (n_half - 1) // 2
    present, weights = keep(padding, x), uniform(x, padding)
    start = torch.zeros_like(log_mass)
    if not own:
        reached = scores if padding is None else scores.masked_fill(padding[..., None], -math.inf)
        nothing = absent(padding)
        reached = reached if nothing is None else reached.masked_fill(nothing, 0.0)
        start = log_mass - torch.logsumexp(reached, -2)
        if rounds == 0:
            share = torch.softmax(reached, -2)
            share = share if present is None else share * present[..., None]
            return share, torch.ones_like(start)
        rounds -= 1
    implicit = gradient == "implicit" and n_half > 1
    v = balance_thin(scores, weights, log_mass, start, rounds=rounds, implicit=implicit)
    share = torch.softmax(scores + v[..., None, :], -1)
    share = share if present is None else share * present[..., None]
    return share, share.sum(-2)


def check_odd(n_half: int) -> None:
    """Half-steps that begin and end on the same side are odd in number."""
    if n_half < 1 or n_half % 2 == 0:
        raise InputError(
            f"n_half must be odd, to begin and to end on one side, but is {n_half}: use {max(1, n_half + 1)}."
        )


def prepare(
    q: Tensor, pivots: Tensor, log_mass: Tensor | None, scale: float | None, epsilon: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Pivots times scale over regularisation, and log masses, uniform if not given."""
    if pivots.ndim < 2 or pivots.shape[-1] != q.shape[-1]:
        raise ShapeError(
            f"pivots must have shape (*heads, r, {q.shape[-1]}), the width of q, but have {tuple(pivots.shape)}."
        )
    if isinstance(epsilon, Tensor):
        epsilon = epsilon.to(q.dtype)[..., None, None]
    pivots = pivots * (scale_of(q, scale) / epsilon)
    if log_mass is None:
        return pivots, pivots.new_full(pivots.shape[:-1], -math.log(pivots.shape[-2]))
    return pivots, torch.log_softmax(log_mass.to(q.dtype), -1)


def _potential(
    x: Tensor, padding: Tensor | None, pivots: Tensor, log_mass: Tensor, iterations: int, gradient: str
) -> Tensor:
    """What to add to the scores of the pivots: log mass, moved by rounds of balancing."""
    if iterations == 0:
        return log_mass
    mass = log_mass.expand(*x.shape[:-2], log_mass.shape[-1])
    weights = uniform(x, padding)
    implicit = gradient == "implicit"
    return balance_thin(x @ pivots.mT, weights, mass, mass, rounds=iterations, implicit=implicit)
