"""Couplers by feature maps: all kinds of linear attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge.coupling import Coupling, FactoredCoupling

from ..features import EluFeatures, FeatureMap, LunaFeatures, PerformerFeatures
from ..functional._heads import Heads
from ..functional._padding import blank, uniform
from ..functional._prefix_sums import prefix_sum
from ..functional.features import divisor, feature_read
from ._coupler import Coupler, Promise
from ._prefix_coupling import PrefixCoupling

__all__ = ["Kernel", "LinearAttention", "Luna", "Performer"]


class Kernel(Coupler):
    r"""$A_{ij} = φ(q_i)·φ(k_j) / \sum_j φ(q_i)·φ(k_j)$: rows exact, linear in time and memory.

    Args:
        features: φ, positive.

    Example:
        >>> from monge.nn.couplers import Kernel
        >>> from monge.nn.features import PerformerFeatures
        >>> attention = monge.nn.Attention(16, 2, coupler=Kernel(PerformerFeatures(8)))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Katharopoulos, Vyas, Pappas, Fleuret, Transformers are RNNs: Fast autoregressive transformers with linear
    attention, arXiv 2006.16236.
    """

    name = "kernel"
    promise = Promise.of_rows(time="n r d", memory="n r", causal="optional", source="arXiv 2006.16236")

    def __init__(self, features: FeatureMap) -> None:
        super().__init__()
        self.features = features

    def _couple(self, heads: Heads) -> Coupling:
        phi_q, phi_k, *_ = self._lifted(heads)
        seen = prefix_sum(phi_k) if heads.causal else phi_k.sum(-2, keepdim=True)
        total = (phi_q * seen).sum(-1, keepdim=True)
        left = phi_q * (uniform(phi_q, heads.query_padding)[..., None] / divisor(total))
        if heads.causal:
            return PrefixCoupling._make(Q=left, R=phi_k)
        return FactoredCoupling._make(Q=left, R=phi_k, g=torch.ones_like(left[..., 0, :]))

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        heads, (values,) = heads.single(v)
        return feature_read(self._lifted(heads), values).to(v.dtype)

    def _lifted(self, heads: Heads) -> Heads:
        """Features in place of queries and keys, zero where they are absent."""
        phi_q, phi_k = self.features(heads.q, heads.k, heads.key_padding)
        return heads._replace(q=blank(phi_q, heads.query_padding), k=blank(phi_k, heads.key_padding))


class LinearAttention(Kernel):
    """Linear attention with elu + 1 features.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="linear")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16), is_causal=True).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "linear"

    def __init__(self) -> None:
        super().__init__(EluFeatures())


class Performer(Kernel):
    """Linear attention with positive random features of the softmax kernel.

    Args:
        width: Width of a head.
        size: Number of features, width · log width if None.
        generator: Draws the features.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="performer")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Choromanski et al., Rethinking attention with Performers, arXiv 2009.14794.
    """

    name = "performer"
    promise = Promise.of_rows("free; approximates softmax", time="n r d", memory="n r", source="arXiv 2009.14794")
    why_not_causal = "its features are scaled by the largest exponent of all keys, which would tell of the future"

    def __init__(self, width: int, size: int | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__(PerformerFeatures(width, size, generator=generator))


class Luna(Kernel):
    """Linear attention with learned features.

    Args:
        width: Width of a head.
        options: Of `monge.nn.features.LunaFeatures`.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="luna")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16), is_causal=True).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Shahbazi, He, Abbasi, Bai, Liu, Akbari, Salehi, NaderiAlizadeh, Kolouri, LUNA: Linear universal neural
    attention with generalization guarantees, arXiv 2512.08061.
    """

    name = "luna"
    promise = Promise.of_rows(
        time="n m (d + L) + n m L d", memory="n m L", causal="optional", source="arXiv 2512.08061"
    )

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(LunaFeatures(width, **options))
