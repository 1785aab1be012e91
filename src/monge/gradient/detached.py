"""No gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from monge._value import value

from .base import Gradient

if TYPE_CHECKING:
    from monge.problem import Linear

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
