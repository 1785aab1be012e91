"""What is solved on every slice: a one-dimensional transport problem with a cost per row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import Value, value
from monge.kernels import line

__all__ = ["Balanced", "Circular", "LineProblem", "LinearCircular"]


class LineProblem(Value, ABC):
    """A transport problem between the coordinates of two clouds on every slice."""

    p: float

    @abstractmethod
    def _costs(
        self,
        u: Float[Tensor, "*b slices n"],
        v: Float[Tensor, "*b slices m"],
        a: Float[Tensor, "*b n"] | None,
        b: Float[Tensor, "*b m"] | None,
    ) -> Float[Tensor, "*b slices"]:
        """The p-th power of the distance on every slice."""

    def _measured(
        self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None
    ) -> tuple[Float[Tensor, "*b slices"], Float[Tensor, "*b slices"]]:
        """The costs, and how far each may lie above the optimum; what is solved exactly has no gap."""
        costs = self._costs(u, v, a, b)
        return costs, torch.zeros_like(costs, dtype=torch.float64)

    def _smooth_costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        """The same in operations that autograd can follow twice, where the problem has such a form."""
        return self._costs(u, v, a, b)


class _OfOrder(LineProblem):
    """A distance between measures of mass one, whose one parameter is its order p >= 1."""

    _distance: ClassVar[Callable[..., Tensor]]
    _smooth: ClassVar[Callable[..., Tensor]]

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=1.0)

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return type(self)._distance(u, v, _per_slice(a), _per_slice(b), self.p)

    def _smooth_costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return type(self)._smooth(u, v, _per_slice(a), _per_slice(b), self.p)

    def _potentials(
        self,
        u: Float[Tensor, "*b slices n"],
        v: Float[Tensor, "*b slices m"],
        a: Float[Tensor, "*b #slices n"],
        b: Float[Tensor, "*b #slices m"],
    ) -> tuple[Float[Tensor, "*b slices n"], Float[Tensor, "*b slices m"]]:
        """Kantorovich potentials, in float64: the slope of the cost by the weights, which is centred, and the cost."""
        batch = u.shape[:-1]
        a, b = (side.detach().double().expand(*batch, side.shape[-1]).clone().requires_grad_() for side in (a, b))
        with torch.enable_grad():
            scaled = (a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))
            cost = type(self)._distance(u.detach().double(), v.detach().double(), *scaled, self.p)
            f, g = torch.autograd.grad(cost.sum(), scaled)
        return f + cost.detach()[..., None], g


@value
class Balanced(_OfOrder):
    """Wasserstein distance on the line, both measures scaled to mass one.

    Args:
        p: Order, at least 1.

    Example:
        >>> Balanced(1.0)
        Balanced(p=1.0)
    """

    p: float = 2.0
    _distance = staticmethod(kernels.line_distance)
    _smooth = staticmethod(line.smooth_line_distance)

    def _potentials(self, u: Tensor, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.line_potentials(u, v, a, b, self.p)


@value
class Circular(_OfOrder):
    """Wasserstein distance on the circle, coordinates in turns.

    Args:
        p: Order, at least 1.

    Example:
        >>> Circular(2.0)
        Circular(p=2.0)
    """

    p: float = 2.0
    _distance = staticmethod(kernels.circle_distance)
    _smooth = staticmethod(line.smooth_circle_distance)


@value
class LinearCircular(_OfOrder):
    """Linear circular transport: the circle without the search for the best cut, coordinates in turns.

    Args:
        p: Order, at least 1.

    Example:
        >>> LinearCircular()
        LinearCircular(p=2.0)
    """

    p: float = 2.0
    _distance = staticmethod(kernels.linear_circle_distance)
    _smooth = staticmethod(line.smooth_linear_circle_distance)


def _per_slice(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.unsqueeze(-2)
