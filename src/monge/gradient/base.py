"""The base class of the ways to differentiate a solution."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from monge._value import Value
from monge.problem import Linear

__all__ = ["Gradient"]


class Gradient(Value):
    """How the answers of an entropic solver depend on its inputs.

    A solver iterates outside the graph of autograd (unless ``_recorded``), and then asks its gradient to put
    the converged potentials into that graph, once. Everything that is computed from them uses autograd as usual.
    """

    # Whether the iterations themselves are recorded.
    _recorded: ClassVar[bool] = False

    def _attach(self, problem: Linear, f: Tensor, g: Tensor) -> tuple[Linear, Tensor, Tensor]:
        """The problem and potentials from which the plan is built: constants, if nothing else is said."""
        return problem.detach(), f.detach(), g.detach()

    @abstractmethod
    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        """The value at potentials given by `_attach`."""
