"""Attention through feature maps (linear attention): the kernel of two feature vectors, normalised by rows."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._transforms import transformable
from monge.kernels.derivatives import again, derivatives

from ._heads import Heads
from ._padding import at_least_single, precise
from ._prefix_sums import extend, prefix_matmul

# Of a feature: without one in common with any key a query would read nothing.
_LEAST = 1e-18

__all__ = ["elu_features", "feature_attention", "feature_step", "linear_attention", "query_features"]


@transformable
def elu_features(x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
    """elu(x) + 1, at least 1e-18.

    Example:
        >>> elu_features(torch.tensor([[-1.0, 0.0, 2.0]]))
        tensor([[0.3679, 1.0000, 3.0000]])

    Source: Katharopoulos, Vyas, Pappas, Fleuret, Transformers are RNNs: Fast autoregressive transformers with linear
    attention, arXiv 2006.16236.
    """
    # Contiguous: products would copy a transposed view anyway, and derivatives keep one layout.
    return _Elu.apply(x.contiguous())


@transformable
def query_features(q: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
    """`elu_features` of queries, divided by a factor for each query so that the largest is at least one.

    Example:
        >>> query_features(torch.tensor([[-40.0, -41.0]]))
        tensor([[1.0000, 0.3679]])
    """
    return elu_features(q - q.detach().amax(-1, keepdim=True).clamp_max(0.0))


class _Elu(torch.autograd.Function):
    """elu + 1, whose derivative is read off the answer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = _elu(x)
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor | None:
        x, out = ctx.saved_tensors
        if again():
            return derivatives(_elu(x), (x,), gradient)[0]
        return gradient * out.clamp_max(1.0)


def _elu(x: Tensor) -> Tensor:
    # The sum elu(x) + 1 itself would lose the digits of exp(x) below zero, and all of them below -17.
    return x.relu() + x.clamp(math.log(_LEAST), 0.0).exp()


@precise
def linear_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "*b n c"]:
    """Linear attention with elu + 1 features; see `feature_attention`.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> linear_attention(q, k, v, causal=True).shape
        torch.Size([4, 10, 8])
    """
    q, k, values = at_least_single(q, k, v)
    features = Heads(query_features(q), elu_features(k), query_padding, key_padding, causal=causal)
    return feature_read(features.checked(), values).to(v.dtype)


@transformable
def feature_attention(
    phi_q: Float[Tensor, "*b n r"],
    phi_k: Float[Tensor, "*b m r"],
    v: Float[Tensor, "*b m c"],
    *,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    causal: bool = False,
    floor: float = 0.0,
) -> Float[Tensor, "*b n c"]:
    r"""φ(Q)(φ(K)^T V) / φ(Q)φ(K)^T 1: exact rows for positive features, linear in time and memory.

    Args:
        phi_q: Features of the queries, non-negative.
        phi_k: Features of the keys, non-negative.
        v: Values.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent; its features are set to zero (a key of zeros would not have features
            of zero).
        causal: Sum over the past only.
        floor: Smallest denominator, for sums that are not zero.

    Returns:
        One weighted mean of the values per query; zero where no key has a feature in common with the query.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> feature_attention(elu_features(q), elu_features(k), v).shape
        torch.Size([4, 10, 8])
    """
    return feature_read(Heads(phi_q, phi_k, query_padding, key_padding, causal=causal).checked(), v, floor)


def feature_read(features: Heads, v: Tensor, floor: float = 0.0) -> Tensor:
    """`feature_attention` of checked features."""
    phi_q, phi_k = features[:2]
    if features.causal:
        return _ratio(prefix_matmul(phi_q, phi_k, extend(v)), floor)
    return phi_q @ (phi_k.mT @ v) / divisor(phi_q @ phi_k.sum(-2)[..., None], floor)


@transformable
def feature_step(
    phi_q: Float[Tensor, "*b n r"],
    phi_k: Float[Tensor, "*b n r"],
    v: Float[Tensor, "*b n c"],
    state: Float[Tensor, "*b r c1"] | None = None,
    *,
    floor: float = 0.0,
) -> tuple[Float[Tensor, "*b n c"], Float[Tensor, "*b r c1"]]:
    """Causal `feature_attention` over the next n positions of a stream, n = 1 included.

    Args:
        phi_q: Features of the new queries.
        phi_k: Features of the new keys.
        v: New values.
        state: The state after the earlier positions, None at the start; its size does not grow.
        floor: Smallest denominator, for sums that are not zero.

    Returns:
        The output at the new positions, and the state after them.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> q, k, state = elu_features(q), elu_features(k), None
        >>> for i in range(10):
        ...     at = slice(i, i + 1)
        ...     out, state = feature_step(q[:, at], k[:, at], v[:, at], state)
        >>> whole = feature_attention(q, k, v, causal=True)
        >>> torch.allclose(out, whole[:, -1:], atol=1e-5)
        True
    """
    v = extend(v)
    summed = prefix_matmul(phi_q, phi_k, v)
    passed = phi_k.mT @ v
    if state is not None:
        summed, passed = summed + phi_q @ state, passed + state
    return _ratio(summed, floor), passed


def _ratio(summed: Tensor, floor: float) -> Tensor:
    """Weighted sums over the sums of weights that stand behind them."""
    return summed[..., :-1] / divisor(summed[..., -1:], floor)


def divisor(total: Tensor, floor: float = 0.0) -> Tensor:
    """Sums to divide by; one where there is nothing to divide."""
    return total.clamp_min(floor).masked_fill(total == 0, 1.0)
