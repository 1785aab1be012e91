"""Attention through feature maps (linear attention): the kernel of two feature vectors, normalised by rows."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..._transforms import transformable
from ._padding import at_least_single, full_precision
from ._prefix import extend, prefix_matmul

__all__ = ["elu_features", "feature_attention", "feature_step", "linear_attention"]


def elu_features(x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
    """elu(x) + 1, positive. Source: Transformers are RNNs, arXiv 2006.16236."""
    # Contiguous, since products would copy a transposed view anyway, and derivatives keep one layout.
    return F.elu(x.contiguous()) + 1.0


@transformable
def linear_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "*b n c"]:
    """Linear attention with elu + 1 features; see `feature_attention`."""
    dtype = v.dtype
    q, k, v = at_least_single(q, k, v)
    with full_precision(q):
        out = feature_attention(
            elu_features(q), elu_features(k), v,
            query_padding=query_padding, key_padding=key_padding, causal=causal,
        )  # fmt: skip
    return out.to(dtype)


@transformable
def feature_attention(
    phi_q: Float[Tensor, "*b n r"],
    phi_k: Float[Tensor, "*b m r"],
    v: Float[Tensor, "*b m c"],
    *,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    causal: bool = False,
    floor: float = 1e-6,
) -> Float[Tensor, "*b n c"]:
    r"""φ(Q)(φ(K)^T V) / φ(Q)φ(K)^T 1: exact rows for positive features, linear in time and memory.

    Args:
        phi_q: features of the queries, non-negative.
        phi_k: features of the keys, non-negative.
        v: values.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent; its features are zeroed, which zero points would not achieve.
        causal: sum over the past only.
        floor: smallest denominator.

    Returns:
        One weighted mean of the values per query; zero where no key has a feature in common with the query.
    """
    phi_q, phi_k = without(phi_q, query_padding), without(phi_k, key_padding)
    if causal:
        summed = prefix_matmul(phi_q, phi_k, extend(v))
        value, total = summed[..., :-1], summed[..., -1:]
    else:
        value = phi_q @ (phi_k.mT @ v)
        total = phi_q @ phi_k.sum(-2)[..., None]
    return value / total.clamp_min(floor)


@transformable
def feature_step(
    phi_q: Float[Tensor, "*b n r"],
    phi_k: Float[Tensor, "*b n r"],
    v: Float[Tensor, "*b n c"],
    state: Float[Tensor, "*b r c1"] | None = None,
    *,
    floor: float = 1e-6,
) -> tuple[Float[Tensor, "*b n c"], Float[Tensor, "*b r c1"]]:
    """Causal `feature_attention` over the next n positions of a stream, n = 1 included.

    Args:
        phi_q: features of the new queries.
        phi_k: features of the new keys.
        v: new values.
        state: what the positions before left behind, None at the start; its size does not grow.
        floor: smallest denominator.

    Returns:
        The output at the new positions, and the state after them.
    """
    v = extend(v)
    summed = prefix_matmul(phi_q, phi_k, v)
    passed = phi_k.mT @ v
    if state is not None:
        summed, passed = summed + phi_q @ state, passed + state
    return summed[..., :-1] / summed[..., -1:].clamp_min(floor), passed


def without(phi: Tensor, padding: Tensor | None) -> Tensor:
    """Features, zero on padding."""
    return phi if padding is None else phi.masked_fill(padding[..., None], 0.0)
