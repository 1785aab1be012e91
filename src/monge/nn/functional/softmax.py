"""Row-anchored attention, the baseline."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from monge import kernels
from monge._transforms import transformable
from monge.kernels.derivatives import defined

from ._heads import Heads
from ._padding import blank, scale_of, unless_scored

__all__ = ["softmax_attention"]

# Scores of one call, below which nothing is fused on a processor.
_FEW = 2**15


@transformable
def softmax_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m c"],
    *,
    scale: float | None = None,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
    pairs: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "*b n c"]:
    r"""$\mathrm{softmax}(s Q K^T) V$, fused: exact rows, no promise on columns.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        scale: $s$, $d^{-1/2}$ if None.
        query_padding: True where a query is absent; its output is zero.
        key_padding: True where a key is absent.
        pairs: True where a pair is forbidden, or a float added to its score.
        causal: Forbid every key after the query.
        dropout: Probability with which a weight is dropped.

    Returns:
        One convex combination of the values per query; zero where every key is absent or forbidden.

    Example:
        >>> q, k, v = torch.randn(3, 4, 10, 8).unbind()
        >>> out = softmax_attention(q, k, v, causal=True)
        >>> torch.allclose(out[:, 0], v[:, 0])
        True
    """
    heads = Heads(q, k, query_padding, key_padding, pairs, causal).checked()
    return softmax_read(heads, blank(v, key_padding), scale, dropout)


def softmax_read(heads: Heads, v: Tensor, scale: float | None, dropout: float) -> Tensor:
    """`softmax_attention` of checked heads."""
    dtype = v.dtype
    if heads.q.dtype != dtype or heads.k.dtype != dtype:
        heads, (v,) = heads.single(v)
    q, k, causal, scale = heads.q, heads.k, heads.causal, scale_of(heads.q, scale)
    bias, dead = heads.mask()
    if bias is None and not causal and dropout == 0.0 and _few(q, k):
        scores = (q * scale) @ k.mT
        # A score that is no number, or beyond all numbers of the dtype, shows in the sum, if not in the softmax.
        out = torch.softmax(scores, -1) @ v + scores.detach().sum(-1, keepdim=True) * 0.0
    else:
        out = fused_attention(q, k, v, bias, dropout, causal=causal and bias is None, scale=scale)
        out = out + unless_scored(q, k, scale, causal=causal).to(out.dtype)
    if bias is not None and bias.dtype != torch.bool:
        out = out.masked_fill(~(bias < math.inf).all(-1, keepdim=True), math.nan)
    if dead is not None:
        out = out.masked_fill(dead, 0.0)
    return blank(out, heads.query_padding).to(dtype)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, *, causal: bool, scale: float
) -> Tensor:
    """`scaled_dot_product_attention` in the form that every backend fuses: four dimensions, one width.

    With dropout, which no backend of the processor fuses, `monge.kernels.dropped_softmax` takes its place there.
    """
    if dropout > 0.0 and kernels.dropping(q, k, v, mask, dropout):
        order = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril() if causal else mask
        return kernels.dropped_softmax(q * scale, k, v, order, dropout)
    batch, width, wanted = q.shape[:-2], v.shape[-1], max(q.shape[-1], v.shape[-1])
    q, k, v = (F.pad(t, (0, wanted - t.shape[-1])) if t.shape[-1] < wanted else t for t in (q, k, v))
    if q.ndim != 4:
        count = math.prod(batch)
        if mask is not None:
            mask = mask.expand(*batch, *mask.shape[-2:]).reshape(count, 1, *mask.shape[-2:])
        q, k, v = (t.reshape(count, 1, *t.shape[-2:]) for t in (q, k, v))

    def fused(*given: Any) -> Tensor:
        return F.scaled_dot_product_attention(*given, dropout_p=dropout, is_causal=causal, scale=scale)

    def definition(*given: Any) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return fused(*given)

    # Torch knows the first derivative of the fused product only; the others come from the definition. What was dropped
    # cannot be drawn again: then torch's own answer has to do.
    out = fused(q, k, v, mask) if dropout > 0.0 else defined(fused, definition, q, k, v, mask)
    return out[..., :width].reshape(*batch, out.shape[-2], width)


def _few(q: Tensor, k: Tensor) -> bool:
    """Whether pairs are so few that a fused kernel takes longer to set up than to compute."""
    few = q.device.type == "cpu" and q.shape[:-1].numel() * k.shape[-2] <= _FEW
    return few and q.dtype in (torch.float32, torch.float64)
