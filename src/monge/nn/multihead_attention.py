"""The attention module of torch by its own signature, with any coupler."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from monge._transforms import transformable

from .attention import Attention
from .couplers import Coupler, Heads, Softmax

__all__ = ["MultiheadAttention"]

# Keys and values of the module itself, which stand behind those of the input.
_OWN = ("bias_k", "bias_v")


class MultiheadAttention(Attention):
    r"""A drop-in replacement of `torch.nn.MultiheadAttention`, whose weights are those of any coupler.

    The order of the arguments, their defaults, the meaning of the masks, the shapes that come back and the names of the
    parameters are those of torch, so that only the name of the class changes and checkpoints load. With the coupler
    ``"softmax"`` the answers are those of torch to rounding, with three exceptions, which are what `Attention` does:

    - A query whose keys are all masked reads zero, where torch may answer NaN.
    - In training, the weights that are returned are those before dropout.
    - ``is_causal`` needs no ``attn_mask`` beside it, and keys of the module itself are read at every position.

    Any other coupler leaves padded queries out when a sequence reads itself: they have no mass, and read zero.

    Args:
        embed_dim: Width of queries and of the output.
        num_heads: Number of heads, which divides ``embed_dim``.
        dropout: Probability with which the coupler drops a key, or a weight for softmax, in training.
        bias: Learn biases in all projections.
        add_bias_kv: Learn one key and value more, which all queries may read.
        add_zero_attn: Add a key and value of zeros.
        kdim: Width of keys, ``embed_dim`` if None.
        vdim: Width of values, ``embed_dim`` if None.
        batch_first: Inputs are (batch, tokens, width); else (tokens, batch, width).
        device: Where the parameters live.
        dtype: Of the parameters.
        coupler: A name, as in `monge.nn.couplers.names`, or a coupler.

    Raises:
        InputError: A size is not positive, the heads do not divide, or the coupler is unknown.

    Example:
        >>> import torch
        >>> from monge.nn import MultiheadAttention
        >>> theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
        >>> ours = MultiheadAttention(16, 4, batch_first=True)
        >>> ours.load_state_dict(theirs.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(2, 10, 16)
        >>> all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours(x, x, x), theirs(x, x, x)))
        True
        >>> balanced = MultiheadAttention(16, 4, batch_first=True, coupler="pivots")
        >>> weights = balanced(x, x, x)[1]
        >>> torch.allclose(weights.sum(-2), torch.ones(2, 10), atol=1e-4)  # every key is read as much as the others
        True

    Source: Vaswani et al., Attention is all you need (arXiv 1706.03762).
    """

    bias_k: nn.Parameter | None
    bias_v: nn.Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        coupler: str | Coupler = "softmax",
    ) -> None:
        super().__init__(
            embed_dim, num_heads, coupler, kdim=kdim, vdim=vdim, bias=bias, dropout=dropout, batch_first=batch_first,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.add_zero_attn = add_zero_attn
        for name in _OWN:
            own = nn.Parameter(torch.empty(1, 1, embed_dim, device=device, dtype=dtype)) if add_bias_kv else None
            self.register_parameter(name, own)
        self._reset_own()

    def reset_parameters(self) -> None:
        """Glorot-uniform projections without bias and Glorot-normal keys and values, as torch has them."""
        super().reset_parameters()
        self._reset_own()

    def _reset_own(self) -> None:
        for name in _OWN:
            own = self._parameters.get(name)
            if own is not None:
                nn.init.xavier_normal_(own)

    @transformable
    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            query: Tokens that read, (n, batch, width), or (batch, n, width) with ``batch_first``, or (n, width).
            key: Tokens that are read, of as many dimensions.
            value: What is read, one for each key.
            key_padding_mask: (batch, m), or (m,) without a batch: True = ignore, or floats that are added to the scores
                of a key. Couplers that form no pairs take only the floats 0 and -inf.
            need_weights: Return the attention matrix as well, however large it is.
            attn_mask: (n, m) or (batch * heads, n, m): True = forbidden, or floats that are added to the scores; only
                for couplers that compute scores of pairs.
            average_attn_weights: Average the weights over heads.
            is_causal: Position i reads nothing after i; an ``attn_mask`` beside it is supposed to say the same.

        Returns:
            The output, and the weights, (batch, n, m) or (batch, heads, n, m), or None. With keys of the module itself
            m counts them too; they are the last.

        Raises:
            CapabilityError: The coupler cannot honour ``attn_mask`` or ``is_causal``.
            ShapeError: Shapes do not fit, or there are queries and not a single key.
            DtypeError: A mask is of integers.
        """
        return super().forward(
            query, key, value, key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip

    def to_heads(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        *,
        query_padding_mask: Tensor | None = None,
        **masks: Any,
    ) -> tuple[Heads, Tensor]:
        """The inputs of the coupler, with the keys and values of the module behind them; see `Attention.to_heads`."""
        pairs = self.coupler.promise.pairs
        key_bias, padding = _parted(key_padding_mask) if pairs else (None, key_padding_mask)
        if padding is not None and query_padding_mask is None and isinstance(self.coupler, Softmax):
            # No condition joins the rows of softmax, so that a padded query can read like any other, as it does there.
            rows = query if self.batch_first or query.ndim != 3 else query.transpose(0, 1)
            query_padding_mask = torch.zeros(rows.shape[:-1], dtype=torch.bool, device=query.device)
        heads, v = super().to_heads(query, key, value, padding, query_padding_mask=query_padding_mask, **masks)
        if key_bias is not None:
            heads = _with_key_bias(heads, key_bias)
        if self.bias_k is not None and self.bias_v is not None:
            own = (part.view(self.num_heads, 1, self.head_dim) for part in (self.bias_k, self.bias_v))
            heads, v = _with_key(heads, v, *own)
        if self.add_zero_attn:
            heads, v = _with_key(heads, v, *(part.new_zeros(self.num_heads, 1, part.shape[-1]) for part in (v, v)))
        return heads, v


def _parted(mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask of keys as floats that are added to scores, None if they are known to be zero, and as padding."""
    if mask is None or not mask.is_floating_point():
        return None, mask
    padding = mask == -math.inf
    bias = mask.masked_fill(padding, 0.0)
    # Where nobody waits for the device, nobody can know; adding zeros is right, and takes a matrix of pairs.
    known = mask.device.type == "cpu" and not torch.compiler.is_compiling()
    return (None if known and not bool(bias.any()) else bias), padding


def _pairs_of(heads: Heads) -> Tensor | None:
    """The mask of pairs, that of the order included."""
    if not heads.causal:
        return heads.pair_mask
    return torch.ones(heads.q.shape[-2], heads.k.shape[-2], dtype=torch.bool, device=heads.q.device).triu(1)


def _with_key_bias(heads: Heads, bias: Tensor) -> Heads:
    """Heads with one number for each key (*batch, m) added to its scores."""
    bias, pairs = bias[..., None, None, :].to(heads.q.dtype), _pairs_of(heads)
    if pairs is not None:
        bias = bias.masked_fill(pairs, -math.inf) if pairs.dtype == torch.bool else bias + pairs
    return heads._replace(pair_mask=bias.expand(*bias.shape[:-2], heads.q.shape[-2], -1), causal=False)


def _with_key(heads: Heads, v: Tensor, key: Tensor, value: Tensor) -> tuple[Heads, Tensor]:
    """Heads with one key and value (heads, 1, width) behind the others, which every query may read."""
    k, v = (torch.cat([part, own.to(part.dtype).expand(*part.shape[:-2], 1, -1)], -2) for part, own in
            ((heads.k, key), (v, value)))  # fmt: skip
    padding, pairs = (None if mask is None else pad(mask, (0, 1)) for mask in (heads.key_padding, _pairs_of(heads)))
    return heads._replace(k=k, key_padding=padding, pair_mask=pairs, causal=False), v
