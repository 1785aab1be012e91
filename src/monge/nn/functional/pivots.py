"""Attention through learned pivots (LOTFormer): the exact form and the entropic one."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._checks import check_choice
from monge._transforms import transformable
from monge.errors import InputError, ShapeError
from monge.kernels.attention import assign, maximal_coupling, occupancy, on_device, pivot_apply

from ._fixed_point import fixed_point
from ._heads import Heads
from ._padding import at_least_single, blank, full_precision, scale_of, unpadded
from ._shards import add_up, logsumexp, total_over, uniform_over

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["entropic_pivot_attention", "entropic_pivot_factors", "pivot_attention", "pivot_factors"]

_TINY = 1e-30
GRADIENTS = ("unrolled", "implicit")


@dataclass(frozen=True)
class Pivoting:
    """Pivots with the options of `pivot_attention` that both forms share."""

    pivots: Tensor
    log_mass: Tensor | None = None
    scale: float | None = None
    epsilon: float | Tensor = 1.0
    gradient: str = "unrolled"
    group: ProcessGroup | None = None

    def __post_init__(self) -> None:
        check_choice("gradient", self.gradient, GRADIENTS)

    def meet(self, heads: Heads, *values: Tensor) -> tuple[Located, Heads, tuple[Tensor, ...]]:
        """Where they stand among the tokens, and all in at least single precision but what fused kernels read as it is.

        Raises:
            ShapeError: Pivots and tokens do not have one width.
        """
        width = heads.q.shape[-1]
        if self.pivots.ndim < 2 or self.pivots.shape[-1] != width:
            raise ShapeError(
                f"pivots must have shape (*heads, r, {width}), the width of q, but have {tuple(self.pivots.shape)}."
            )
        (pivots,), epsilon = at_least_single(self.pivots), self.epsilon
        if not (values and on_device((heads.q, heads.k, *values), pivots)):
            heads, (pivots, *rest) = heads.single(self.pivots, *values)
            values = tuple(rest)
        if isinstance(epsilon, Tensor):
            epsilon = epsilon.to(pivots.dtype)[..., None, None]
        points = pivots * (scale_of(pivots, self.scale) / epsilon)
        if self.log_mass is None:
            log_mass = points.new_full(points.shape[:-1], -math.log(points.shape[-2]))
        else:
            log_mass = torch.log_softmax(self.log_mass.to(points.dtype), -1)
        return Located(points, log_mass, self.gradient, self.group), heads, values


@dataclass(frozen=True)
class Located:
    """Pivots as the assignments meet them; without points, tokens are scores already."""

    points: Tensor | None
    log_mass: Tensor
    gradient: str
    group: ProcessGroup | None


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

    Queries and keys are assigned to r pivots, $P_1 = \mathrm{diag}(a)\,\mathrm{softmax}_t(s q_i·z_t/ε + g_t)$ and
    $P_2^T$ likewise; the uses $p_1$ and $p_2$ of the pivots are joined by their maximal coupling W, and the plan is
    $P_1\,\mathrm{diag}(1/p_1)\,W\,\mathrm{diag}(1/p_2)\,P_2$: non-negative, of rank at most r, with uniform
    marginals to rounding whatever the scores. ``iterations`` Sinkhorn rounds move the uses towards ``mass``; with none,
    g = log mass.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        pivots: Locations; without leading dimensions, or with those of the heads.
        log_mass: Logarithm of the mass each pivot should carry; uniform if None.
        scale: $s$, $d^{-1/2}$ if None.
        epsilon: Strength of the entropy of the two assignments.
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
    pivoting = Pivoting(pivots, log_mass, scale, epsilon, gradient, group)
    return pivot_read(Heads(q, k, query_padding, key_padding).checked(), blank(v, key_padding), pivoting, iterations)


def pivot_factors(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    iterations: int = 0,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    r"""The plan of `pivot_attention` as $Q R^T$: rows of Q sum to a, columns of R to one.

    Args:
        q: Queries.
        k: Keys.
        pivots: Locations.
        iterations: Rounds of balancing before the exact step.
        query_padding: True where a query is absent.
        key_padding: True where a key is absent.
        options: ``log_mass``, ``scale``, ``epsilon``, ``gradient``, ``group`` as in `pivot_attention`.

    Returns:
        $Q = P_1$ and $R^T = \mathrm{diag}(1/p_1) W \mathrm{diag}(1/p_2) P_2$; their rows of the tokens that this
        process holds, if there is a group.

    Example:
        >>> left, right = pivot_factors(torch.randn(10, 8), torch.randn(12, 8), torch.randn(4, 8))
        >>> torch.allclose((left @ right.mT).sum(0), torch.full((12,), 1 / 12), atol=1e-6)
        True
    """
    return exact_factors(Heads(q, k, query_padding, key_padding).checked(), Pivoting(pivots, **options), iterations)


@transformable
def entropic_pivot_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    n_half: int = 5,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    **options: Any,
) -> Float[Tensor, "*b n c"]:
    """Two entropic problems glued through pivots, as published: rows exact, columns at convergence only.

    An odd number ``n_half`` of half-steps each, which begin and end on the first marginal: that of the queries, then
    that of the pivots. ``n_half=1`` is attention packed by the pivots and unpacked again.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        pivots: Locations.
        n_half: Half-steps of each problem, odd.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.
        options: ``log_mass``, ``scale``, ``epsilon``, ``gradient``, ``group`` as in `pivot_attention`.

    Returns:
        One convex combination of the values per query.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> entropic_pivot_attention(q, k, v, torch.randn(4, 6, 8)).shape
        torch.Size([4, 10, 8])

    Source: LOTFormer, arXiv 2509.23436.
    """
    check_odd(n_half)
    heads, v = Heads(q, k, query_padding, key_padding).checked(), blank(v, key_padding)
    return entropic_read(heads, v, Pivoting(pivots, **options), n_half)


def entropic_pivot_factors(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    n_half: int = 5,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
    r"""The two matrices whose product is the attention matrix of `entropic_pivot_attention`.

    Args:
        q: Queries.
        k: Keys.
        pivots: Locations.
        n_half: Half-steps of each problem, odd.
        query_padding: True where a query is absent.
        key_padding: True where a key is absent.
        options: ``log_mass``, ``scale``, ``epsilon``, ``gradient``, ``group`` as in `entropic_pivot_attention`.

    Returns:
        $\mathrm{diag}(1/a) P_1$, whose rows sum to one, and $(\mathrm{diag}(1/p) P_2)^T$, whose columns do.

    Example:
        >>> left, right = entropic_pivot_factors(torch.randn(10, 8), torch.randn(12, 8), torch.randn(4, 8))
        >>> torch.allclose((left @ right.mT).sum(-1), torch.ones(10), atol=1e-5)
        True
    """
    check_odd(n_half)
    return entropic_factors(Heads(q, k, query_padding, key_padding).checked(), Pivoting(pivots, **options), n_half)


def pivot_read(heads: Heads, v: Tensor, pivoting: Pivoting, iterations: int) -> Tensor:
    """`pivot_attention` of checked heads."""
    with full_precision(heads.q):
        located, heads, (values,) = pivoting.meet(heads, v)
        if iterations > 0:
            located, heads = _scored_once(located, heads, values)
        biases = _exact_biases(heads, located, iterations)
        return _applied(heads, values, located, *biases, exact=True).to(v.dtype)


def exact_factors(heads: Heads, pivoting: Pivoting, iterations: int) -> tuple[Tensor, Tensor]:
    """`pivot_factors` of checked heads."""
    with full_precision(heads.q):
        located, heads, _ = pivoting.meet(heads)
        share_q, share_k = _assigned(heads, located, *_exact_biases(heads, located, iterations))
        use_q, use_k = add_up(torch.stack([share_q.sum(-2), share_k.sum(-2)]), located.group)
        stay, spare = (part.to(share_q.dtype)[..., None, :] for part in maximal_coupling(use_q, use_k))
        left = share_q / use_q.sum(-1).clamp_min(_TINY)[..., None, None]
        mean = share_k / use_k.clamp_min(_TINY)[..., None, :]
        rest = mean @ spare.mT
        return left, rest + stay * (mean - rest)


def entropic_read(heads: Heads, v: Tensor, pivoting: Pivoting, n_half: int) -> Tensor:
    """`entropic_pivot_attention` of checked heads."""
    if n_half == 1:
        left, right = entropic_factors(heads, pivoting, n_half)
        with full_precision(heads.q):
            return (left @ add_up(right.mT @ v.to(right.dtype), pivoting.group)).to(v.dtype)
    with full_precision(heads.q):
        located, heads, (values,) = pivoting.meet(heads, v)
        located, heads = _scored_once(located, heads, values)
        biases = _first_bias(heads, located, n_half), _second_bias(heads, located, n_half)
        return _applied(heads, values, located, *biases, exact=False).to(v.dtype)


def entropic_factors(heads: Heads, pivoting: Pivoting, n_half: int) -> tuple[Tensor, Tensor]:
    """`entropic_pivot_factors` of checked heads."""
    with full_precision(heads.q):
        located, heads, _ = pivoting.meet(heads)
        first = _first_bias(heads, located, n_half)
        if n_half == 1:
            scores = _reachable(heads, located)
            right = torch.exp(scores - logsumexp(scores, -2, located.group)[..., None, :])
            left, present = _assign(heads.q, heads.query_padding, located, first), unpadded(heads.key_padding, right)
            return left, right if present is None else right * present[..., None]
        left, share = _assigned(heads, located, first, _second_bias(heads, located, n_half))
        use = add_up(share.sum(-2), located.group)
        return left, share / use.clamp_min(torch.finfo(use.dtype).tiny)[..., None, :]


def _scored_once(located: Located, heads: Heads, v: Tensor) -> tuple[Located, Heads]:
    """Scores of queries and keys without pivots, for a use in several rounds, unless kernels recompute them faster."""
    points = located.points
    if points is None or on_device((heads.q, heads.k, v), points):
        return located, heads
    return replace(located, points=None), heads._replace(q=heads.q @ points.mT, k=heads.k @ points.mT)


def _applied(heads: Heads, v: Tensor, located: Located, bias_q: Tensor, bias_k: Tensor, *, exact: bool) -> Tensor:
    present = unpadded(heads.query_padding, heads.q), unpadded(heads.key_padding, heads.k)
    q, k, total = heads.q, heads.k, total_over(located.group)
    return pivot_apply(q, k, v, located.points, bias_q, bias_k, *present, exact=exact, total=total)


def _assigned(heads: Heads, located: Located, bias_q: Tensor, bias_k: Tensor) -> tuple[Tensor, Tensor]:
    left = _assign(heads.q, heads.query_padding, located, bias_q)
    return left, _assign(heads.k, heads.key_padding, located, bias_k)


def _assign(x: Tensor, padding: Tensor | None, located: Located, bias: Tensor) -> Tensor:
    return assign(x, located.points, bias, unpadded(padding, x))


def _exact_biases(heads: Heads, located: Located, iterations: int) -> tuple[Tensor, Tensor]:
    """Potentials of the pivots against both sides, from their masses."""
    start = located.log_mass
    bias = _balanced(heads.q, heads.query_padding, located, start, iterations)
    return bias, _balanced(heads.k, heads.key_padding, located, start, iterations)


def _first_bias(heads: Heads, located: Located, n_half: int) -> Tensor:
    """Potential of the pivots against the queries, whose half-steps are the first and the last."""
    start = torch.zeros_like(located.log_mass)
    return _balanced(heads.q, heads.query_padding, located, start, (n_half - 1) // 2)


def _second_bias(heads: Heads, located: Located, n_half: int) -> Tensor:
    """Potential of the pivots against the keys before the pivots' last half-step: a division by their sums."""
    start = located.log_mass - logsumexp(_reachable(heads, located), -2, located.group)
    return _balanced(heads.k, heads.key_padding, located, start, (n_half - 3) // 2)


def _scores(x: Tensor, points: Tensor | None) -> Tensor:
    return x if points is None else x.to(points.dtype) @ points.mT


def _reachable(heads: Heads, located: Located) -> Tensor:
    """Scores of the keys at the pivots, -inf at absent keys."""
    scores, padding = _scores(heads.k, located.points), heads.key_padding
    return scores if padding is None else scores.masked_fill(padding[..., None], -math.inf)


def _balanced(x: Tensor, padding: Tensor | None, located: Located, start: Tensor, rounds: int) -> Tensor:
    """The potential ``start`` of the pivots, moved by rounds of balancing towards their masses.

    A round is a softmax over the pivots and a sum over the tokens: a half-step of the tokens and one of the pivots, as
    long as no pivot is out of reach of every token, by more than the smallest number of the dtype. Such a pivot is
    lifted by the logarithm of that number a round instead, so that it comes back into reach.
    """
    if rounds == 0:
        return start
    log_mass, start = (t.expand(*x.shape[:-2], t.shape[-1]) for t in (located.log_mass, start))
    present, group = unpadded(padding, x), located.group
    tiny = torch.finfo(log_mass.dtype).tiny
    implicit, v = located.gradient == "implicit", start
    with torch.no_grad() if implicit else nullcontext():
        for _ in range(rounds):
            use = add_up(occupancy(x, located.points, v, present), group)
            use = use / use.sum(-1, keepdim=True).clamp_min(tiny)
            v = v + log_mass - use.clamp_min(tiny).log()
    if not implicit:
        return v
    scores = _scores(x, located.points)
    return fixed_point(scores, uniform_over(scores, padding, group).log(), log_mass, v, group)


def check_odd(n_half: int) -> None:
    """Half-steps that begin and end on the same side are odd in number."""
    if n_half < 1 or n_half % 2 == 0:
        raise InputError(
            f"n_half must be odd, to begin and to end on one side, but is {n_half}: use {max(1, n_half + 1)}."
        )
