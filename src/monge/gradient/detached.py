"""No gradients."""

from __future__ import annotations

from torch import Tensor

from monge._value import value
from monge.problem import Linear

from .base import Gradient

__all__ = ["Detached"]


@value
class Detached(Gradient):
    """Nothing has a gradient: plan, potentials and value are constants.

    Example:
        >>> from monge.gradient import Detached
        >>> Detached()
        Detached()
    """

    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        return problem.detach().dual(f, g)
