"""Gradients through the iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from monge._value import value

from .base import Gradient

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["Unrolled"]


@value
class Unrolled(Gradient):
    """Record a fixed number of plain iterations and differentiate through them.

    The gradient is exact for what was computed, converged or not, which is what a layer of fixed depth wants.
    The solver then runs ``max_iter`` iterations at the target epsilon, without a test, acceleration or
    synchronisation; memory grows with their number times n + m.

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
