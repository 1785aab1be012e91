"""Gradients of the value alone."""

from __future__ import annotations

from torch import Tensor

from monge._parts import parts_of
from monge._value import value
from monge.kernels.derivatives import envelope
from monge.problem import Linear

from .base import Gradient

__all__ = ["Envelope"]


@value
class Envelope(Gradient):
    """Differentiate the value with the potentials held constant; no linear system is solved.

    By the envelope theorem dV/dC = P, dV/da = f and dV/db = g at the solution, with an error of first order
    in the marginal error. The plan and the potentials have no gradient: with constant potentials, their gradient
    would be wrong by tens of per cent. Second derivatives of the value would be wrong too, and are refused; use
    `Implicit` for them.

    Example:
        >>> from monge.gradient import Envelope
        >>> Envelope()
        Envelope()
    """

    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        parts = parts_of(problem)
        return envelope(
            lambda constants, tensors: parts.within(tensors, lambda same: same.dual(*same._settled(*constants))),
            (f, g),
            parts.tensors,
            parts.tensors,
            "The value has no second derivative with gradient=Envelope(), since potentials are held constant: take "
            "gradient=Implicit().",
        )
