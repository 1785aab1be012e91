"""Causal balanced attention: the past, read through pivots."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..._transforms import transformable
from ...kernels.attention import assign
from ._padding import at_least_single, blank, full_precision, keep
from ._prefix import extend, prefix_matmul, prefix_sum
from .pivots import prepare

__all__ = ["harmonic_mass", "prefix_pivot_attention", "prefix_pivot_factors", "prefix_pivot_step"]

# Added to every assignment of a key: where all assignments to a pivot underflow, the pivot holds the mean of the past.
_SPREAD = 1e-15


@transformable
def prefix_pivot_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    v: Float[Tensor, "*b n c"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    padding: Bool[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n c"]:
    r"""Every position reads pivots that hold the weighted means of the past.

    $$o_i = \sum_t \sigma_q(i)_t \frac{\sum_{j\le i}\sigma_k(j)_t v_j}{\sum_{j\le i}\sigma_k(j)_t}$$

    Rows sum to one and position i reads nothing after i. Columns cannot sum to one as well: the only causal doubly
    stochastic matrix is the identity. The mass of key j aims at that of uniform causal attention, `harmonic_mass`.

    Args:
        q: Queries.
        k: Keys, as many.
        v: Values.
        pivots: Locations; without leading dimensions, or with those of the heads.
        log_mass: Added to the scores of the pivots; none if None.
        scale: s, d^{-1/2} if None.
        epsilon: Regularisation of the assignments.
        padding: True where a position is absent; its output is zero.

    Returns:
        One convex combination of the values of the past per position.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> pivots = torch.randn(4, 6, 8)
        >>> prefix_pivot_attention(q, k, v, pivots).shape
        torch.Size([4, 10, 8])
    """
    dtype = v.dtype
    (v,) = at_least_single(v)
    options = {"log_mass": log_mass, "scale": scale, "epsilon": epsilon}
    with full_precision(q):
        left, right = prefix_pivot_factors(q, k, pivots, padding=padding, **options)
        return prefix_matmul(left, right, blank(v, padding).to(left.dtype)).to(dtype)


def prefix_pivot_factors(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    pivots: Float[Tensor, "*#b r d"],
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
    padding: Bool[Tensor, "*#b n"] | None = None,
) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b n r"]]:
    """Q and R such that the lower triangle of Q R^T is the attention matrix of `prefix_pivot_attention`."""
    with full_precision(q):
        share_q, share_k = _shares(q, k, pivots, log_mass, scale, epsilon, padding)
        held = prefix_sum(share_k)
        # Before the first position that is present the pivots hold nothing, and no query is present to read them.
        return share_q / held.clamp_min(_SPREAD / 2), share_k


@transformable
def prefix_pivot_step(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    v: Float[Tensor, "*b n c"],
    pivots: Float[Tensor, "*#b r d"],
    state: Float[Tensor, "*b r c1"] | None = None,
    *,
    log_mass: Float[Tensor, "*#b r"] | None = None,
    scale: float | None = None,
    epsilon: float | Tensor = 1.0,
) -> tuple[Float[Tensor, "*b n c"], Float[Tensor, "*b r c1"]]:
    """`prefix_pivot_attention` over the next n positions of a stream, n = 1 included.

    ``state``, None at the start, holds the sums of the past at each pivot: r (c + 1) numbers that do not grow. Other
    arguments as in `prefix_pivot_attention`.

    Returns:
        The output at the new positions, and the state after them.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> pivots, state = torch.randn(4, 6, 8), None
        >>> for i in range(10):
        ...     at = slice(i, i + 1)
        ...     out, state = prefix_pivot_step(q[:, at], k[:, at], v[:, at], pivots, state)
        >>> whole = prefix_pivot_attention(q, k, v, pivots)
        >>> torch.allclose(out, whole[:, -1:], atol=1e-5)
        True
    """
    dtype = v.dtype
    q, k, v, pivots = at_least_single(q, k, v, pivots)
    with full_precision(q):
        share_q, share_k = _shares(q, k, pivots, log_mass, scale, epsilon, None)
        v = extend(v)
        if state is None:
            state = v.new_zeros(*v.shape[:-2], share_k.shape[-1], v.shape[-1])
        left = share_q / (prefix_sum(share_k) + state[..., None, :, -1])
        out = prefix_matmul(left, share_k, v[..., :-1]) + left @ state[..., :-1]
        return out.to(dtype), state + share_k.mT @ v


def harmonic_mass(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, " n"]:
    """Column sums of uniform causal attention, c_j = sum_{i >= j} 1/i: the mass a balanced causal key should carry.

    Example:
        >>> harmonic_mass(3)
        tensor([1.8333, 0.8333, 0.3333])
    """
    inverse = 1.0 / torch.arange(1, n + 1, dtype=torch.float64)
    return inverse.flip(0).cumsum(0).flip(0).to(dtype)


def _shares(
    q: Tensor,
    k: Tensor,
    pivots: Tensor,
    log_mass: Tensor | None,
    scale: float | None,
    epsilon: float | Tensor,
    padding: Tensor | None,
) -> tuple[Tensor, Tensor]:
    q, k, pivots = at_least_single(q, k, pivots)
    pivots, bias = prepare(q, pivots, log_mass, scale, epsilon)
    present = keep(padding, q)
    share_q = assign(blank(q, padding), pivots, bias, present)
    share_k = assign(blank(k, padding), pivots, bias) + _SPREAD
    return share_q, share_k if present is None else share_k * present[..., None]
