"""Causal balanced attention: every position reads its past through pivots."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._heads import Heads
from ._padding import blank, precise
from ._prefix_sums import extend, prefix_matmul, prefix_sum
from .pivots import Pivoting

__all__ = ["harmonic_mass", "prefix_pivot_attention", "prefix_pivot_step"]

# Added to every assignment of a key: where all assignments to a pivot underflow, the pivot holds the mean of the past.
_SPREAD = 1e-15


@precise
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
        scale: $s$, $d^{-1/2}$ if None.
        epsilon: Strength of the entropy of the assignments.
        padding: True where a position is absent; its output is zero.

    Returns:
        One convex combination of the values of the past per position.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> pivots = torch.randn(4, 6, 8)
        >>> prefix_pivot_attention(q, k, v, pivots).shape
        torch.Size([4, 10, 8])
    """
    pivoting = Pivoting(pivots, log_mass, scale, epsilon)
    return prefix_read(Heads(q, k, padding, padding).checked(), blank(v, padding), pivoting)


def prefix_read(heads: Heads, v: Tensor, pivoting: Pivoting) -> Tensor:
    """`prefix_pivot_attention` of checked heads."""
    left, right = prefix_factors(heads, pivoting)
    return prefix_matmul(left, right, v.to(left.dtype)).to(v.dtype)


def prefix_factors(heads: Heads, pivoting: Pivoting) -> tuple[Tensor, Tensor]:
    """Q and R, both non-negative: the lower triangle of $Q R^T$ is the attention matrix of `prefix_pivot_attention`."""
    share_q, share_k = _assigned(heads, pivoting)
    held = prefix_sum(share_k)
    # Before the first position that is present the pivots hold nothing, and no query is present to read them.
    return share_q / held.clamp_min(_SPREAD / 2), share_k


@precise
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
    share_q, share_k = _assigned(Heads(q, k).checked(), Pivoting(pivots, log_mass, scale, epsilon))
    v = extend(v.to(share_q.dtype))
    if state is None:
        state = v.new_zeros(*v.shape[:-2], share_k.shape[-1], v.shape[-1])
    left = share_q / (prefix_sum(share_k) + state[..., None, :, -1])
    out = prefix_matmul(left, share_k, v[..., :-1]) + left @ state[..., :-1]
    return out.to(dtype), state + share_k.mT @ v


def harmonic_mass(n: int, *, dtype: torch.dtype = torch.float32) -> Float[Tensor, " n"]:
    r"""Column sums of uniform causal attention, $c_j = \sum_{i \ge j} 1/i$: the mass that a balanced key should have.

    Example:
        >>> harmonic_mass(3)
        tensor([1.8333, 0.8333, 0.3333])
    """
    inverse = 1.0 / torch.arange(1, n + 1, dtype=torch.float64)
    return inverse.flip(0).cumsum(0).flip(0).to(dtype)


def _assigned(heads: Heads, pivoting: Pivoting) -> tuple[Tensor, Tensor]:
    """What every query and every key gives to the pivots."""
    met, _ = pivoting.meet(heads)
    share_q, share_k = met.assign((met.log_mass, met.log_mass))
    return share_q, blank(share_k + _SPREAD, met.keys.padding)
