"""A learned prior over positions for couplers of dot products."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from monge._checks import check_count
from monge.coupling import Coupling
from monge.errors import InputError

from ..functional._heads import Heads
from ..functional._padding import full_precision
from ..functional._prefix_sums import extend
from ._coupler import Coupler, Promise
from .sinkhorn import Sinkhorn
from .softmax import Softmax

__all__ = ["Prior"]


class Prior(Coupler):
    r"""Scores plus log π(i, j), the prior of one-sided entropic transport, carried by more dimensions of q and k.

    $$\log π_{ij} = \sum_ρ λ^s_ρ \cos ω_ρ(i-j) + λ^a_ρ \sin ω_ρ(i-j) + u(j), \quad
        ω_ρ = 10^{-4ρ/(R-1)}$$

    u is a small network of the position, with one more term for the first position and, in causal use, a linear term
    that favours recent keys. The prior is a product of features, so that fused kernels and streamed plans need no
    change. For couplers with fixed columns, such as "sinkhorn", u has no effect.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        inner: "softmax" or "sinkhorn".
        frequencies: R.
        hidden: Width of the network of u.
        options: Of the inner coupler.

    Example:
        >>> from monge.nn.couplers import Prior
        >>> attention = monge.nn.Attention(16, 2, coupler=Prior(2, 8, inner="sinkhorn", n_half=7))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Litman, Guo, You need better attention priors, arXiv 2601.15380.
    """

    name = "prior"
    promise = replace(Softmax.promise, source="arXiv 2601.15380")

    def __init__(
        self, heads: int, width: int, inner: str = "softmax", *, frequencies: int = 8, hidden: int = 32, **options: Any
    ) -> None:
        super().__init__()
        known = {"softmax": Softmax, "sinkhorn": Sinkhorn}
        if inner not in known:
            raise InputError(
                f"inner={inner!r} has no scores that a prior could be added to: choose one of {sorted(known)}."
            )
        check_count("frequencies", frequencies)
        self.scale = options.pop("scale", None) or width**-0.5
        self.inner: Coupler = known[inner](scale=1.0, **options)
        self.promise: Promise = replace(self.inner.promise, source=self.promise.source)
        self.even = nn.Parameter(0.01 * torch.randn(heads, frequencies))
        self.odd = nn.Parameter(torch.zeros(heads, frequencies))
        self.first = nn.Parameter(torch.zeros(heads))
        self.enter, self.leave = nn.Linear(2 * frequencies + 2, hidden), nn.Linear(hidden, heads)
        nn.init.normal_(self.leave.weight, std=1e-3)
        nn.init.zeros_(self.leave.bias)
        # Slopes 2^{-8h/H}, through the inverse of softplus.
        slopes = torch.tensor([2 ** (-8 * (head + 1) / heads) for head in range(heads)])
        self.slope = nn.Parameter(slopes.expm1().log())

    def log_prior(self, n: int, m: int, *, causal: bool = False) -> Float[Tensor, "h n m"]:
        """Log π, dense: what is added to the scores."""
        query, key = self._features(n, m, self.even, causal)
        return query @ key.mT

    def _features(self, n: int, m: int, like: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
        count = self.even.shape[-1]
        omega = 10.0 ** (-4.0 * torch.arange(count, device=like.device) / max(1, count - 1))
        place = torch.arange(max(n, m), device=like.device, dtype=omega.dtype)
        angle = (place[:, None] * omega).to(like.dtype)
        cos, sin = angle.cos(), angle.sin()
        factors = (self.even, self.odd, self.first, self.slope)
        even, odd, first, slope = (factor.to(like.dtype)[:, None] for factor in factors)
        enter, leave = ([part.to(like.dtype) for part in layer.parameters()] for layer in (self.enter, self.leave))
        query = torch.cat([even * cos[:n] + odd * sin[:n], even * sin[:n] - odd * cos[:n]], -1)
        scales = torch.stack([place / 1024.0, place.log1p() / math.log(1024.0)], -1).to(like.dtype)
        key = torch.cat([cos[:m], sin[:m]], -1)
        bias = F.linear(F.gelu(F.linear(torch.cat([key, scales[:m]], -1), *enter)), *leave).mT
        # Times zero instead of left out, so that the slope has a gradient on every path.
        ramp = place[:m].to(like.dtype) * float(causal)
        bias = bias + first * (place[:m] == 0) + F.softplus(slope) * ramp
        return extend(query), torch.cat([key.expand(len(bias), -1, -1), bias[..., None]], -1)

    def _extended(self, heads: Heads) -> Heads:
        heads, _ = heads.single()
        q, k = heads.q, heads.k
        query, key = self._features(q.shape[-2], k.shape[-2], q, heads.causal)
        batch = q.shape[:-2]
        q = torch.cat([q * self.scale, query.expand(*batch, *query.shape[-2:])], -1)
        k = torch.cat([k, key.expand(*batch, *key.shape[-2:])], -1)
        return heads._replace(q=q, k=k)

    def _couple(self, heads: Heads) -> Coupling:
        return self.inner._couple(self._extended(heads))

    def _attend(self, heads: Heads, v: Tensor, dropout: float) -> Tensor:
        with full_precision(v):
            heads = self._extended(heads)
            return self.inner._attend(heads, v.to(heads.q.dtype), dropout).to(v.dtype)
