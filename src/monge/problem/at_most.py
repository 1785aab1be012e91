"""The marginal of partial transport."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge._value import value

from .marginal import Constraint

__all__ = ["AtMost"]


@value
class AtMost(Constraint):
    """The marginal may be any part of the weights: 0 <= mu <= a.

    Its dual term is <a, min(f, 0)>: a point that keeps some of its mass has potential zero.

    Args:
        weights: The masses a of the points; zeros mark absent points.

    Raises:
        InputError: If the weights are negative, not finite, or all zero.

    Example:
        >>> import torch
        >>> from monge.problem import AtMost
        >>> AtMost(torch.tensor([0.25, 0.75]))
        AtMost(weights=float32[2])

    Source: Benamou et al., Iterative Bregman projections for regularized transportation problems, arXiv:1412.5154.
    """

    def _violation(self, mu: Tensor) -> Tensor:
        return (mu - self.weights).clamp(min=0.0).sum(-1)

    def _met_by(self, mu: Tensor) -> AtMost:
        return self._replace(weights=self.weights.maximum(mu))

    def _nearest(self, mu: Tensor) -> Tensor:
        return mu.minimum(self.weights)

    def _project(self, f: Tensor) -> Tensor:
        return f.clamp(max=0.0)

    def _mass_at(self, f: Tensor) -> Tensor:
        return torch.where(f <= 0, self.weights, 0.0)

    def _curvature(self, f: Tensor) -> Tensor:
        return torch.where(f < 0, 0.0, math.inf).to(f.dtype)
