"""The marginal of semi-relaxed transport."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge._value import value

from .marginal import Marginal

__all__ = ["Free"]


@value
class Free(Marginal):
    """The marginal may be arbitrary; the weights are only the reference of the entropy.

    Its dual term is zero at f >= 0 and -inf below, so the potential of a solution is zero.

    Args:
        weights: The reference weights a; zeros mark absent points.

    Raises:
        InputError: If the weights are negative, not finite, or all zero.

    Example:
        >>> import torch
        >>> from monge.problem import Free
        >>> Free(torch.tensor([0.5, 0.5]))
        Free(weights=float32[2])
    """

    def _conjugate(self, f: Tensor) -> Tensor:
        broken = ((f < 0) & (self.weights > 0)).any(-1)
        return torch.where(broken, -math.inf, 0.0).to(f.dtype)

    def _penalty(self, mu: Tensor) -> Tensor:
        return torch.zeros_like(mu[..., 0])

    def _project(self, f: Tensor) -> Tensor:
        return torch.zeros_like(f)

    def _mass_at(self, f: Tensor) -> Tensor:
        return torch.where(f <= 0, math.inf, 0.0).to(f.dtype)

    def _curvature(self, f: Tensor) -> Tensor:
        return torch.full_like(f, math.inf)
