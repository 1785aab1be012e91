"""Gradients through the iterations."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from monge._value import value
from monge.problem import Linear

from .base import Gradient

__all__ = ["Unrolled"]


@value
class Unrolled(Gradient):
    """Record a fixed number of plain iterations and differentiate through them.

    The gradient is exact for the numbers that were computed, whether they have converged or not. This suits a layer
    with a fixed number of iterations. The solver makes ``max_iter`` iterations at the final epsilon, without a
    stopping rule, acceleration or synchronisation; memory grows with their number times n + m.

    Example:
        >>> from monge.gradient import Unrolled
        >>> Unrolled()
        Unrolled()
    """

    _recorded: ClassVar[bool] = True

    def _attach(self, problem: Linear, f: Tensor, g: Tensor) -> tuple[Linear, Tensor, Tensor]:
        return problem, f, g

    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        return problem.dual(f, g)
