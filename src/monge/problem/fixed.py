"""The marginal of balanced transport."""

from __future__ import annotations

import torch
from torch import Tensor

from monge._value import value

from .marginal import Constraint

__all__ = ["Fixed"]


@value
class Fixed(Constraint):
    """The marginal is given: mu = a.

    Its dual term is <a, f>.

    Args:
        weights: The masses a of the points; zeros mark absent points.

    Raises:
        InputError: If the weights are negative, not finite, or all zero.

    Example:
        >>> import torch
        >>> from monge.problem import Fixed
        >>> Fixed(torch.tensor([0.25, 0.75]))
        Fixed(weights=float32[2])
    """

    def _violation(self, mu: Tensor) -> Tensor:
        return (mu - self.weights).abs().sum(-1)

    def _met_by(self, mu: Tensor) -> Fixed:
        return self._replace(weights=mu)

    def _nearest(self, mu: Tensor) -> Tensor:
        return self.weights.expand_as(mu)

    def _mass_at(self, f: Tensor) -> Tensor:
        return self.weights.expand_as(f)

    def _curvature(self, f: Tensor) -> Tensor:
        return torch.zeros_like(f)
