"""Row-anchored attention, the baseline."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ... import kernels
from ..._transforms import transformable
from ...kernels.derivatives import defined
from ._masks import as_pairs, present
from ._padding import at_least_single, blank, scale_of, unless_scored

__all__ = ["fused_attention", "merge_masks", "softmax_attention"]


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
    r"""softmax(s Q K^T) V, fused: exact rows, no promise on columns.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        scale: s, d^{-1/2} if None.
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
    dtype = v.dtype
    if q.dtype != dtype or k.dtype != dtype:
        q, k, v = at_least_single(q, k, v)
    pairs = as_pairs(pairs, q.shape[:-2], q.shape[-2], k.shape[-2])
    q, k, v = blank(q, query_padding), blank(k, key_padding), blank(v, key_padding)
    bias, dead = merge_masks(q, k, key_padding, pairs, causal)
    fused = causal and bias is None
    out = fused_attention(q, k, v, bias, dropout, causal=fused, scale=scale_of(q, scale))
    out = out + unless_scored(q, k, scale_of(q, scale), causal=causal).to(out.dtype)
    if bias is not None and bias.dtype != torch.bool:
        out = out.masked_fill(~(bias < math.inf).all(-1, keepdim=True), math.nan)
    if dead is not None:
        out = out.masked_fill(dead, 0.0)
    return blank(out, query_padding).to(dtype)


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
    out = _attend(q, k, v, mask, dropout, causal, scale)
    return out[..., :width].reshape(*batch, out.shape[-2], width)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, causal: bool, scale: float) -> Tensor:
    """The fused product, of which torch knows the first derivative only; the others come from the definition."""

    def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, scale=scale)

    def definition(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale)

    # What was dropped cannot be drawn again: then torch's own answer has to do.
    return fused(q, k, v, mask) if dropout > 0.0 else defined(fused, definition, q, k, v, mask)


def merge_masks(
    q: Tensor, k: Tensor, key_padding: Tensor | None, pairs: Tensor | None, causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """One additive or boolean mask (True = allowed) for all that is forbidden, and the rows that it leaves empty.

    Rows left empty are allowed everything, since a normalisation of nothing is NaN; the caller sets them to zero.
    Causality alone needs no mask and gives None.
    """
    allowed = None
    if key_padding is not None:
        allowed = present(key_padding)[..., None, :]
    if pairs is not None and pairs.dtype == torch.bool:
        allowed = ~pairs if allowed is None else allowed & ~pairs
    if causal and (allowed is not None or pairs is not None):
        order = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        allowed = order if allowed is None else allowed & order
    if pairs is None or pairs.dtype == torch.bool:
        if allowed is None:
            return None, None
        dead = ~allowed.any(-1, keepdim=True)
        return allowed | dead, dead
    bias = pairs.to(q.dtype)
    if allowed is not None:
        bias = bias.masked_fill(~allowed, -math.inf)
    dead = (bias == -math.inf).all(-1, keepdim=True)
    return bias.masked_fill(dead, 0.0), dead
