"""One attention module, whose coupler of queries and keys is an argument."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from monge._checks import check_number
from monge._transforms import transformable
from monge.coupling import Coupling
from monge.errors import InputError, ShapeError

from .couplers import Coupler, Heads, build
from .functional._masks import as_padding
from .functional._padding import at_least_single, full_precision

__all__ = ["Attention"]

# The weights of queries, keys and values where they are not one parameter.
_APART = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class Attention(nn.Module):
    r"""Multi-head attention whose weights are a coupling of queries and keys.

    With a source weight 1/n_q per query, a target weight 1/n_k per key and P the coupling that ``coupler`` makes of
    them, every head returns the barycentric projection of the values, $\mathrm{diag}(1/a) P V$. The interface, the
    masks and the names of the parameters are those of `torch.nn.MultiheadAttention`, so that a checkpoint of one
    module can be loaded into the other.

    Args:
        dim: Width of queries and of the output.
        heads: Number of heads; it must divide ``dim`` unless ``head_dim`` is given.
        coupler: A name, as in `monge.nn.couplers.names`, or a coupler.
        kdim: Width of keys, ``dim`` if None.
        vdim: Width of values, ``dim`` if None.
        bias: Learn biases in all projections.
        dropout: Probability with which the coupler drops a key, or a weight for softmax, in training.
        batch_first: Inputs are (*batch, tokens, width); else (tokens, batch, width).
        head_dim: Width of a head for queries and keys, dim / heads if None.
        value_dim: Width of a head for values, ``head_dim`` if None.
        device: Where the parameters live.
        dtype: Of the parameters.

    Raises:
        InputError: A size is not positive, the heads do not divide, or the coupler is unknown.

    Example:
        >>> import torch, monge
        >>> attention = monge.nn.Attention(64, 4, coupler="pivots")
        >>> x = torch.randn(2, 100, 64)
        >>> out, _ = attention(x)
        >>> rows, columns = attention.couple(x).marginals()
        >>> bool(((columns * 100 - 1).abs() < 1e-5).all())
        True
    """

    # The fused encoder of torch would compute softmax attention from the weights; this keeps it from trying.
    _qkv_same_embed_dim = False

    def __init__(
        self,
        dim: int,
        heads: int,
        coupler: str | Coupler = "pivots",
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        batch_first: bool = True,
        head_dim: int | None = None,
        value_dim: int | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_number("dropout", dropout, low=0.0, high=1.0)
        if dim < 1 or heads < 1:
            raise InputError(f"dim and heads must be positive, but are {dim} and {heads}: take at least 1 of each.")
        if head_dim is None and dim % heads:
            raise InputError(f"heads must divide dim, but {dim} is not a multiple of {heads}: pass head_dim.")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = dim, heads, dropout, batch_first
        self.kdim, self.vdim = dim if kdim is None else kdim, dim if vdim is None else vdim
        self.head_dim = dim // heads if head_dim is None else head_dim
        self.value_dim = self.head_dim if value_dim is None else value_dim
        sizes = (heads * self.head_dim, heads * self.head_dim, heads * self.value_dim)
        self._fused = self.kdim == self.vdim == dim and sizes == (dim, dim, dim)
        made = {"device": device, "dtype": dtype}
        if self._fused:
            self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim, **made))
        else:
            for name, size, width in zip(_APART, sizes, (dim, self.kdim, self.vdim), strict=True):
                self.register_parameter(name, nn.Parameter(torch.empty(size, width, **made)))
        self.in_proj_bias = nn.Parameter(torch.empty(sum(sizes), **made)) if bias else None
        self.out_proj = nn.Linear(sizes[2], dim, bias=bias, **made)
        own = build(coupler, heads, self.head_dim) if isinstance(coupler, str) else coupler
        self.coupler = own.to(device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform projections without bias, as in `torch.nn.MultiheadAttention`."""
        for name in ("in_proj_weight",) if self._fused else _APART:
            nn.init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)

    @transformable
    def forward(
        self,
        query: Float[Tensor, "... n e"],
        key: Float[Tensor, "... m ek"] | None = None,
        value: Float[Tensor, "... m ev"] | None = None,
        key_padding_mask: Tensor | None = None,
        *,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        query_padding_mask: Bool[Tensor, "... n"] | None = None,
    ) -> tuple[Float[Tensor, "... n e"], Tensor | None]:
        """Attend.

        Args:
            query: Tokens that read; a batch is optional.
            key: Tokens that are read, ``query`` if None.
            value: What is read, ``key`` if None.
            key_padding_mask: (*batch, m), True = ignore; a float mask must hold 0 and -inf only.
            need_weights: Return the attention matrix as well, however large it is. The output does not change: dropout
                acts on the output only, and the matrix is the one before dropout.
            attn_mask: (n, m), (batch·heads, n, m), or (*batch, heads, n, m), where a dimension may be 1 if the mask is
                the same for all; True = forbidden, or floats that are added to the scores; only for couplers that
                compute scores of pairs.
            average_attn_weights: Average the weights over heads.
            is_causal: Position i reads nothing after i; an ``attn_mask`` beside it is supposed to say the same.
            query_padding_mask: (*batch, n), True = ignore; ``key_padding_mask`` if query and key are one tensor.

        Returns:
            The output, zero (before the bias of the output projection) on padded queries, and the weights or None.

        Raises:
            CapabilityError: The coupler cannot honour ``attn_mask`` or ``is_causal``.
            ShapeError: Shapes do not fit, or there are queries and not a single key.
            DtypeError: A mask is of integers.
        """
        heads, values = self.to_heads(
            query, key, value, key_padding_mask,
            attn_mask=attn_mask, is_causal=is_causal, query_padding_mask=query_padding_mask,
        )  # fmt: skip
        out = self.from_heads(self.coupler.read(heads, values, self.dropout if self.training else 0.0))
        if not need_weights:
            return out, None
        weights = self.coupler.weights(heads)
        return out, weights.mean(-3) if average_attn_weights else weights

    @transformable(constant=True)
    def couple(
        self,
        query: Float[Tensor, "... n e"],
        key: Float[Tensor, "... m ek"] | None = None,
        key_padding_mask: Tensor | None = None,
        **masks: Any,
    ) -> Coupling:
        """The coupling of every head, with batch shape (*batch, heads).

        Args:
            query: Tokens that read.
            key: Tokens that are read, ``query`` if None.
            key_padding_mask: (*batch, m), True = ignore.
            masks: ``attn_mask``, ``is_causal``, ``query_padding_mask`` as in ``forward``.
        """
        value = query.new_zeros(*(query if key is None else key).shape[:-1], self.vdim)
        return self.coupler.plan(self.to_heads(query, key, value, key_padding_mask, **masks)[0])

    def to_heads(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        query_padding_mask: Tensor | None = None,
    ) -> tuple[Heads, Tensor]:
        """The inputs of the coupler, divided into heads; arguments as in ``forward``.

        Returns:
            Queries and keys with their masks, (*batch, heads, tokens, width), and the values of that shape.

        Raises:
            ShapeError: Shapes do not fit, or there are queries and not a single key.
            DtypeError: A mask is of integers.
            InputError: A float mask of padding holds other numbers than 0 and -inf.
        """
        key = query if key is None else key
        value = key if value is None else value
        own, shared = key is query, value is key
        widths = {"query": (query, self.embed_dim), "key": (key, self.kdim), "value": (value, self.vdim)}
        for name, (given, width) in widths.items():
            if given.ndim < 2 or given.shape[-1] != width:
                raise ShapeError(
                    f"{name} must have shape (*batch, tokens, {width}), but has {tuple(given.shape)}: set kdim or vdim."
                )
        if not self.batch_first and query.ndim == 3:
            query, key, value = (given.transpose(0, 1) for given in (query, key, value))
        q, k, v = self._project(query, key, value, own and shared)
        k = _or_nan(k, key_padding_mask)
        key_padding = as_padding("key_padding_mask", key_padding_mask, key)
        if query_padding_mask is None and own:
            query_padding = key_padding
        else:
            query_padding = as_padding("query_padding_mask", query_padding_mask, query)
        heads = Heads(q, k, query_padding, key_padding, attn_mask, is_causal).per_head()
        return heads._replace(pair_mask=None) if is_causal else heads, v

    def from_heads(self, out: Tensor) -> Tensor:
        """The outputs of all heads, joined and projected, in the layout of the inputs."""
        out = self.out_proj(out.transpose(-3, -2).flatten(-2))
        return out if self.batch_first or out.ndim != 3 else out.transpose(0, 1)

    def _project(self, query: Tensor, key: Tensor, value: Tensor, own: bool) -> tuple[Tensor, Tensor, Tensor]:
        jumps = self.coupler.jumps
        if self._fused and own and not jumps:
            parts = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            q, k, v = parts.unflatten(-1, (3, self.num_heads, self.head_dim)).transpose(-4, -2).unbind(-3)
            return q, k, v
        sizes = [self.num_heads * width for width in (self.head_dim, self.head_dim, self.value_dim)]
        weights = self.in_proj_weight.split(sizes) if self._fused else [getattr(self, name) for name in _APART]
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.split(sizes)
        projections = (_linear, _linear, F.linear) if jumps else (F.linear,) * 3
        q, k, v = (
            project(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
            for project, x, weight, bias in zip(projections, (query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def extra_repr(self) -> str:
        """Sizes in the order of the arguments."""
        return f"{self.embed_dim}, {self.num_heads}, kdim={self.kdim}, vdim={self.vdim}, dropout={self.dropout}"


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A projection in single precision at least, whatever autocast says: what is sorted must not be rounded first."""
    x, weight = at_least_single(x, weight)
    with full_precision(x):
        return F.linear(x, weight, None if bias is None else bias.to(weight.dtype))


def _or_nan(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens per head, NaN where a mask of floats says neither keep nor ignore.

    Where nobody waits for the device, nobody can refuse such a mask; but it must not pass unnoticed.
    """
    if mask is None or not mask.is_floating_point():
        return tokens
    strange = (mask != 0) & (mask != -math.inf)
    return tokens.masked_fill(strange[..., None, :, None], math.nan)
