"""Attention through learned pivots (LOTFormer): the exact form and the entropic one."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from monge._checks import check_choice
from monge.errors import InputError, ShapeError
from monge.kernels.attention import assign, maximal_coupling, occupancy, on_device, pivot_apply

from ._fixed_point import fixed_point
from ._heads import Heads
from ._padding import at_least_single, blank, head_factor, precise, scale_of, unpadded
from ._shards import add_up, logsumexp, uniform_over

__all__ = ["entropic_pivot_attention", "pivot_attention"]

_TINY = 1e-30


@dataclass(frozen=True)
class Pivoting:
    """Pivots with the options of `pivot_attention` that both forms share."""

    pivots: Tensor
    log_mass: Tensor | None = None
    scale: float | None = None
    epsilon: float | Tensor = 1.0
    gradient: str = "unrolled"
    group: dist.ProcessGroup | None = None

    def __post_init__(self) -> None:
        check_choice("gradient", self.gradient, ("unrolled", "implicit"))

    def meet(self, heads: Heads, *values: Tensor) -> tuple[Meeting, tuple[Tensor, ...]]:
        """Both sides and the values, all in at least single precision but what fused kernels read as it is.

        Raises:
            ShapeError: Pivots and tokens do not have one width.
        """
        width = heads.q.shape[-1]
        if self.pivots.ndim < 2 or self.pivots.shape[-1] != width:
            raise ShapeError(
                f"pivots must have shape (*heads, r, {width}), the width of q, but have {tuple(self.pivots.shape)}."
            )
        (pivots,) = at_least_single(self.pivots)
        if not (values and on_device((heads.q, heads.k, *values), pivots)):
            heads, (pivots, *rest) = heads.single(self.pivots, *values)
            values = tuple(rest)
        points = pivots * (scale_of(pivots, self.scale) / head_factor(self.epsilon, pivots))
        if self.log_mass is None:
            log_mass = points.new_full(points.shape[:-1], -math.log(points.shape[-2]))
        else:
            log_mass = torch.log_softmax(self.log_mass.to(points.dtype), -1)
        queries, keys = Side(heads.q, points, heads.query_padding), Side(heads.k, points, heads.key_padding)
        return Meeting(queries, keys, log_mass, self.gradient, self.group), values


class Side(NamedTuple):
    """The tokens of one side, and where the pivots stand; without points, tokens are scores already."""

    x: Tensor
    points: Tensor | None
    padding: Tensor | None

    @property
    def unpadded(self) -> Tensor | None:
        """One on tokens, zero on padding."""
        return unpadded(self.padding, self.x)

    def scores(self) -> Tensor:
        """Of every token at every pivot."""
        return self.x if self.points is None else self.x.to(self.points.dtype) @ self.points.mT

    def assign(self, bias: Tensor) -> Tensor:
        """How every token is shared out among the pivots."""
        return assign(self.x, self.points, bias, self.unpadded)


@dataclass(frozen=True)
class Meeting:
    """Queries and keys where they meet the pivots."""

    queries: Side
    keys: Side
    log_mass: Tensor
    gradient: str
    group: dist.ProcessGroup | None

    def scored(self, v: Tensor) -> Meeting:
        """Scores in place of tokens, for a use in several rounds, unless kernels recompute them faster."""
        if on_device((self.queries.x, self.keys.x, v), self.queries.points):
            return self
        queries, keys = (side._replace(x=side.scores(), points=None) for side in (self.queries, self.keys))
        return replace(self, queries=queries, keys=keys)

    def apply(self, v: Tensor, biases: tuple[Tensor, Tensor], *, exact: bool) -> Tensor:
        """What the queries read of the values."""
        (q, points, _), k = self.queries, self.keys.x
        present = self.queries.unpadded, self.keys.unpadded
        total = None if self.group is None else partial(add_up, group=self.group)
        return pivot_apply(q, k, v, points, *biases, *present, exact=exact, total=total)

    def assign(self, biases: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """How queries and keys are shared out among the pivots."""
        return self.queries.assign(biases[0]), self.keys.assign(biases[1])

    def exact_biases(self, iterations: int) -> tuple[Tensor, Tensor]:
        """Potentials of the pivots against both sides, from their masses."""
        start = self.log_mass
        return self._balanced(self.queries, start, iterations), self._balanced(self.keys, start, iterations)

    def first_bias(self, n_half: int) -> Tensor:
        """Potential of the pivots against the queries, whose half-steps are the first and the last."""
        return self._balanced(self.queries, torch.zeros_like(self.log_mass), (n_half - 1) // 2)

    def entropic_biases(self, n_half: int) -> tuple[Tensor, Tensor]:
        """`first_bias`, and the potential against the keys before the pivots' last half-step, a division by sums."""
        start = self.log_mass - logsumexp(self.reachable(), -2, self.group)
        return self.first_bias(n_half), self._balanced(self.keys, start, (n_half - 3) // 2)

    def reachable(self) -> Tensor:
        """Scores of the keys at the pivots, -inf at absent keys."""
        scores, padding = self.keys.scores(), self.keys.padding
        return scores if padding is None else scores.masked_fill(padding[..., None], -math.inf)

    def _balanced(self, side: Side, start: Tensor, rounds: int) -> Tensor:
        """The potential ``start`` of the pivots, moved by rounds of balancing towards their masses.

        A round is a softmax over the pivots and a sum over the tokens: a half-step of the tokens and one of the pivots,
        as long as no pivot is out of reach of every token, by more than the smallest number of the dtype. Such a pivot
        is lifted by the logarithm of that number a round instead, so that it comes back into reach.
        """
        if rounds == 0:
            return start
        log_mass, v = (t.expand(*side.x.shape[:-2], t.shape[-1]) for t in (self.log_mass, start))
        present, tiny = side.unpadded, torch.finfo(log_mass.dtype).tiny
        implicit = self.gradient == "implicit"
        with torch.no_grad() if implicit else nullcontext():
            for _ in range(rounds):
                use = add_up(occupancy(side.x, side.points, v, present), self.group)
                use = use / use.sum(-1, keepdim=True).clamp_min(tiny)
                v = v + log_mass - use.clamp_min(tiny).log()
        if not implicit:
            return v
        scores = side.scores()
        return fixed_point(scores, uniform_over(scores, side.padding, self.group).log(), log_mass, v, self.group)


@precise
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
    group: dist.ProcessGroup | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Doubly stochastic attention of rank r in linear time, exact at any number of iterations.

    Queries and keys are assigned to r pivots, $P_1 = \mathrm{diag}(a)\,\mathrm{softmax}_t(s q_i·z_t/ε + g_t)$ and
    $P_2^T$ likewise. So the pivots receive the masses $p_1$ and $p_2$, which are joined by their maximal coupling W.
    The plan is $P_1\,\mathrm{diag}(1/p_1)\,W\,\mathrm{diag}(1/p_2)\,P_2$: it is non-negative, has rank at most r, and
    its marginals are uniform up to rounding, for any scores. ``iterations`` Sinkhorn rounds move $p_1$ and $p_2$
    towards ``mass``; without rounds, g = log mass.

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
        group: Processes among which the tokens are divided; their numbers of tokens may differ. They exchange sums of
            size r (c + 2) forward and r c backward, per head. Every process holds all pivots and a part of the loss;
            the loss is the sum of all parts. So the gradients of pivots and masses must be added over the group.

    Returns:
        One convex combination of the values per query; the mean of all of them is the mean of the values.

    Raises:
        InputError: Unknown ``gradient``.
        ShapeError: The pivots do not fit.

    Example:
        >>> import torch
        >>> from monge.nn.functional import pivot_attention
        >>> q, k, v, pivots = (torch.randn(n, 16) for n in (100, 100, 100, 8))
        >>> torch.allclose(pivot_attention(q, k, v, pivots).mean(0), v.mean(0), atol=1e-5)
        True

    Source: Shahbazi, Thrash, Bai, Hamm, NaderiAlizadeh, Kolouri, LOTFormer: Doubly-stochastic linear attention via
    low-rank optimal transport, arXiv 2509.23436, for gluing through pivots; the exact step is this library's.
    """
    pivoting = Pivoting(pivots, log_mass, scale, epsilon, gradient, group)
    return pivot_read(Heads(q, k, query_padding, key_padding).checked(), blank(v, key_padding), pivoting, iterations)


@precise
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

    Both problems make an odd number ``n_half`` of half-steps, which begin and end with the first marginal: that of the
    queries in the first problem, that of the pivots in the second. With ``n_half=1``, the pivots read the keys by
    softmax, and the queries read the pivots by softmax.

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

    Source: Shahbazi, Thrash, Bai, Hamm, NaderiAlizadeh, Kolouri, LOTFormer: Doubly-stochastic linear attention via
    low-rank optimal transport, arXiv 2509.23436.
    """
    check_odd(n_half)
    heads, v = Heads(q, k, query_padding, key_padding).checked(), blank(v, key_padding)
    return entropic_read(heads, v, Pivoting(pivots, **options), n_half)


def pivot_read(heads: Heads, v: Tensor, pivoting: Pivoting, iterations: int) -> Tensor:
    """`pivot_attention` of checked heads."""
    met, (values,) = pivoting.meet(heads, v)
    met = met.scored(values) if iterations > 0 else met
    return met.apply(values, met.exact_biases(iterations), exact=True).to(v.dtype)


def exact_factors(heads: Heads, pivoting: Pivoting, iterations: int) -> tuple[Tensor, Tensor]:
    r"""The plan of `pivot_attention` as $Q R^T$: rows of Q sum to a, columns of R to one.

    They are $Q = P_1$ and $R^T = \mathrm{diag}(1/p_1) W \mathrm{diag}(1/p_2) P_2$; their rows of the tokens that this
    process holds, if there is a group.
    """
    met, _ = pivoting.meet(heads)
    share_q, share_k = met.assign(met.exact_biases(iterations))
    use_q, use_k = add_up(torch.stack([share_q.sum(-2), share_k.sum(-2)]), met.group)
    stay, spare = (part.to(share_q.dtype)[..., None, :] for part in maximal_coupling(use_q, use_k))
    left = share_q / use_q.sum(-1).clamp_min(_TINY)[..., None, None]
    mean = share_k / use_k.clamp_min(_TINY)[..., None, :]
    rest = mean @ spare.mT
    return left, rest + stay * (mean - rest)


def entropic_read(heads: Heads, v: Tensor, pivoting: Pivoting, n_half: int) -> Tensor:
    """`entropic_pivot_attention` of checked heads."""
    if n_half == 1:
        left, right = entropic_factors(heads, pivoting, n_half)
        return (left @ add_up(right.mT @ v.to(right.dtype), pivoting.group)).to(v.dtype)
    met, (values,) = pivoting.meet(heads, v)
    met = met.scored(values)
    return met.apply(values, met.entropic_biases(n_half), exact=False).to(v.dtype)


def entropic_factors(heads: Heads, pivoting: Pivoting, n_half: int) -> tuple[Tensor, Tensor]:
    r"""The two matrices whose product is the attention matrix of `entropic_pivot_attention`.

    They are $\mathrm{diag}(1/a) P_1$, whose rows sum to one, and $(\mathrm{diag}(1/p) P_2)^T$, whose columns do.
    """
    met, _ = pivoting.meet(heads)
    if n_half == 1:
        scores, present = met.reachable(), met.keys.unpadded
        right = torch.exp(scores - logsumexp(scores, -2, met.group)[..., None, :])
        right = right if present is None else right * present[..., None]
        return met.queries.assign(met.first_bias(n_half)), right
    left, share = met.assign(met.entropic_biases(n_half))
    use = add_up(share.sum(-2), met.group)
    return left, share / use.clamp_min(torch.finfo(use.dtype).tiny)[..., None, :]


def check_odd(n_half: int) -> None:
    """Half-steps that begin and end on the same side are odd in number."""
    if n_half < 1 or n_half % 2 == 0:
        raise InputError(
            f"n_half must be odd, to begin and end on the same side, but is {n_half}: use {max(1, n_half + 1)}."
        )
