"""Attention through learned pivots (LOTFormer): the exact form and the entropic one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..._checks import check_choice
from ..._transforms import transformable
from ...errors import InputError, ShapeError
from ...kernels.attention import assign, maximal_coupling, occupancy, on_device, pivot_apply
from ._masks import check_padding
from ._padding import at_least_single, blank, full_precision, keep, scale_of
from ._shards import add_up, logsumexp, total_over, uniform_over
from ._sinkhorn import fixed_point

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["entropic_pivot_attention", "entropic_pivot_factors", "pivot_attention", "pivot_factors"]

_TINY = 1e-30
GRADIENTS = ("unrolled", "implicit")


@transformable
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
    group: ProcessGroup | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Doubly stochastic attention of rank r in linear time, exact at any number of iterations.

    Queries and keys are assigned to r pivots, P1 = diag(a) softmax_t(s q_i·z_t/ε + g_t) and P2^T likewise for the
    keys; the uses p1, p2 of the pivots are joined by their maximal coupling W, and the plan is
    $P_1\,\mathrm{diag}(1/p_1)\,W\,\mathrm{diag}(1/p_2)\,P_2$: non-negative, of rank at most r, with uniform
    marginals to rounding whatever the scores. ``iterations`` Sinkhorn rounds move the uses towards ``mass``; with none,
    g = log mass.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        pivots: Locations; without leading dimensions, or with those of the heads.
        log_mass: Logarithm of the mass each pivot should carry; uniform if None.
        scale: s, d^{-1/2} if None.
        epsilon: Regularisation of the two assignments.
        iterations: Rounds of balancing before the exact step.
        gradient: "unrolled" through the rounds, or "implicit" at their fixed point.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.
        group: Processes among which the tokens are sharded, some to each, not equally many. They exchange sums of size
            r (c + 2) forward and r c backward, per head. Every process holds all pivots and one part of the loss, the
            sum of all parts; gradients of pivots and masses are parts as well, to be summed over the group.

    Returns:
        One convex combination of the values per query, with the values' mean as their mean.

    Raises:
        InputError: Unknown ``gradient``.
        ShapeError: The pivots do not fit.

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
    q, k, v, pivots = _precise(q, k, v, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        q, k = blank(q, query_padding), blank(k, key_padding)
        q, k, located = _scores_once(q, k, v, pivots) if iterations > 0 else (q, k, pivots)
        bias_q, bias_k = (
            _balanced(x, padding, located, log_mass, log_mass, iterations, gradient, group)
            for x, padding in ((q, query_padding), (k, key_padding))
        )
        out = pivot_apply(
            q, k, blank(v, key_padding), located, bias_q, bias_k, keep(query_padding, q), keep(key_padding, k),
            total=total_over(group),
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
    group: ProcessGroup | None = None,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    """The plan of `pivot_attention` as Q R^T: rows of Q sum to a, columns of R to one.

    Arguments as in `pivot_attention`. Returns Q = P1 and R = (diag(1/p1) W diag(1/p2) P2)^T; their rows of the tokens
    that this process holds, if there is a group.
    """
    check_choice("gradient", gradient, GRADIENTS)
    q, k, pivots = at_least_single(q, k, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        shares = []
        for x, padding in ((q, query_padding), (k, key_padding)):
            x = blank(x, padding)
            bias = _balanced(x, padding, pivots, log_mass, log_mass, iterations, gradient, group)
            shares.append(assign(x, pivots, bias, keep(padding, x)))
        share_q, share_k = shares
        use_q, use_k = add_up(torch.stack([share_q.sum(-2), share_k.sum(-2)]), group)
        stay, spare = (part.to(q.dtype)[..., None, :] for part in maximal_coupling(use_q, use_k))
        left = share_q / use_q.sum(-1).clamp_min(_TINY)[..., None, None]
        mean = share_k / use_k.clamp_min(_TINY)[..., None, :]
        rest = mean @ spare.mT
        return left, rest + stay * (mean - rest)


@transformable
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
    group: ProcessGroup | None = None,
) -> Float[Tensor, "*b n c"]:
    """Two entropic problems glued through pivots, as published: rows exact, columns at convergence only.

    An odd number ``n_half`` of half-steps each, which begin and end on the first marginal: that of the queries, then
    that of the pivots. ``n_half=1`` is attention packed by the pivots and unpacked again. Other arguments as in
    `pivot_attention`.

    Returns:
        One convex combination of the values per query.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> entropic_pivot_attention(q, k, v, torch.randn(4, 6, 8)).shape
        torch.Size([4, 10, 8])

    Source: LOTFormer, arXiv 2509.23436.
    """
    check_choice("gradient", gradient, GRADIENTS)
    check_odd(n_half)
    dtype = v.dtype
    q, k, v, pivots = _precise(q, k, v, pivots)
    with full_precision(q):
        q, k, v = blank(q, query_padding), blank(k, key_padding), blank(v, key_padding)
        if n_half == 1:
            left, right = entropic_pivot_factors(
                q, k, pivots, log_mass=log_mass, scale=scale, epsilon=epsilon, n_half=1,
                query_padding=query_padding, key_padding=key_padding, group=group,
            )  # fmt: skip
            return (left @ add_up(right.mT @ v.to(right.dtype), group)).to(dtype)
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        q, k, located = _scores_once(q, k, v, pivots)
        bias_q = _first_problem(q, query_padding, located, log_mass, n_half, gradient, group)
        bias_k = _second_problem(k, key_padding, located, log_mass, n_half, gradient, group)
        out = pivot_apply(
            q, k, v, located, bias_q, bias_k, keep(query_padding, q), keep(key_padding, k),
            exact=False, total=total_over(group),
        )  # fmt: skip
    return out.to(dtype)


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
    group: ProcessGroup | None = None,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    """diag(1/a) P1 and (diag(1/p) P2)^T of `entropic_pivot_attention`: both with rows, or columns, that sum to one."""
    check_choice("gradient", gradient, GRADIENTS)
    check_odd(n_half)
    q, k, pivots = at_least_single(q, k, pivots)
    with full_precision(q):
        pivots, log_mass = prepare(q, pivots, log_mass, scale, epsilon)
        q, k = blank(q, query_padding), blank(k, key_padding)
        present = keep(key_padding, k)
        bias = _first_problem(q, query_padding, pivots, log_mass, n_half, gradient, group)
        left = assign(q, pivots, bias, keep(query_padding, q))
        if n_half == 1:
            scores = _reachable(k @ pivots.mT, key_padding)
            right = torch.exp(scores - logsumexp(scores, -2, group)[..., None, :])
            return left, right if present is None else right * present[..., None]
        bias = _second_problem(k, key_padding, pivots, log_mass, n_half, gradient, group)
        share = assign(k, pivots, bias, present)
        use = add_up(share.sum(-2), group)
        return left, share / use.clamp_min(torch.finfo(use.dtype).tiny)[..., None, :]


def _scores_once(q: Tensor, k: Tensor, v: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores of queries and keys without pivots, for a use in several rounds, unless kernels recompute them faster."""
    if on_device((q, k, v), pivots):
        return q, k, pivots
    return q @ pivots.mT, k @ pivots.mT, None


def _first_problem(
    q: Tensor, padding: Tensor | None, pivots: Tensor | None, log_mass: Tensor, n_half: int, gradient: str,
    group: ProcessGroup | None,
) -> Tensor:  # fmt: skip
    """Potential of the pivots against the queries, whose half-steps are the first and the last."""
    start = torch.zeros_like(log_mass)
    return _balanced(q, padding, pivots, log_mass, start, (n_half - 1) // 2, gradient, group)


def _second_problem(
    k: Tensor, padding: Tensor | None, pivots: Tensor | None, log_mass: Tensor, n_half: int, gradient: str,
    group: ProcessGroup | None,
) -> Tensor:  # fmt: skip
    """Potential of the pivots against the keys before the pivots' last half-step: a division by their sums."""
    start = log_mass - logsumexp(_reachable(_scores(k, pivots), padding), -2, group)
    return _balanced(k, padding, pivots, log_mass, start, (n_half - 3) // 2, gradient, group)


def _scores(x: Tensor, pivots: Tensor | None) -> Tensor:
    return x if pivots is None else x.to(pivots.dtype) @ pivots.mT


def _reachable(scores: Tensor, padding: Tensor | None) -> Tensor:
    """Scores of the pivots, -inf at absent keys."""
    return scores if padding is None else scores.masked_fill(check_padding(padding)[..., None], -math.inf)


def _balanced(
    x: Tensor, padding: Tensor | None, pivots: Tensor | None, log_mass: Tensor, start: Tensor, rounds: int,
    gradient: str, group: ProcessGroup | None,
) -> Tensor:  # fmt: skip
    """The potential ``start`` of the pivots, moved by rounds of balancing towards their masses.

    A round is a softmax over the pivots and a sum over the tokens: a half-step of the tokens and one of the pivots, as
    long as no pivot is out of reach of every token, by more than the smallest number of the dtype. Such a pivot is
    lifted by the logarithm of that number a round instead, so that it comes back into reach.
    """
    if rounds == 0:
        return start
    log_mass, start = (t.expand(*x.shape[:-2], t.shape[-1]) for t in (log_mass, start))
    present = keep(padding, x)
    if gradient == "unrolled":
        return _rounds(x, present, pivots, log_mass, start, rounds, group)
    with torch.no_grad():
        v = _rounds(x, present, pivots, log_mass, start, rounds, group)
    scores = _scores(x, pivots)
    return fixed_point(scores, uniform_over(scores, padding, group).log(), log_mass, v, group)


def _rounds(
    x: Tensor, present: Tensor | None, pivots: Tensor | None, log_mass: Tensor, v: Tensor, rounds: int,
    group: ProcessGroup | None,
) -> Tensor:  # fmt: skip
    tiny = torch.finfo(log_mass.dtype).tiny
    for _ in range(rounds):
        use = add_up(occupancy(x, pivots, v, present), group)
        use = use / use.sum(-1, keepdim=True).clamp_min(tiny)
        v = v + log_mass - use.clamp_min(tiny).log()
    return v


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
        epsilon = epsilon.to(pivots.dtype)[..., None, None]
    pivots = pivots * (scale_of(pivots, scale) / epsilon)
    if log_mass is None:
        return pivots, pivots.new_full(pivots.shape[:-1], -math.log(pivots.shape[-2]))
    return pivots, torch.log_softmax(log_mass.to(pivots.dtype), -1)


def _precise(q: Tensor, k: Tensor, v: Tensor, pivots: Tensor) -> tuple[Tensor, ...]:
    """Everything in at least single precision, but tokens that the fused kernels read as they are."""
    (upcast,) = at_least_single(pivots)
    return (q, k, v, upcast) if on_device((q, k, v), upcast) else at_least_single(q, k, v, pivots)
