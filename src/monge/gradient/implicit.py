"""Gradients of the fixed point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from monge._value import value

from .base import Gradient

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["Implicit"]


@value
class Implicit(Gradient):
    """Differentiate the equations that converged potentials satisfy.

    Potentials enter the graph through one update f = U(T(g)), g = U(T(f)), whose backward first solves the
    transposed linear system of that fixed point, by conjugate gradients on streamed products with the plan.
    Everything downstream, plans, barycentres, costs and their second derivatives, is plain autograd.

    Args:
        tol: Relative residual of the linear system.
        max_iter: Limit of its iterations.

    Example:
        >>> from monge.gradient import Implicit
        >>> Implicit()
        Implicit(tol=1e-10, max_iter=1000)
    """

    tol: float = 1e-10
    max_iter: int = 1000

    def _attach(self, problem: Linear, f: Tensor, g: Tensor) -> tuple[Linear, Tensor, Tensor]:
        return problem, f, g

    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        return problem.dual(f, g)
