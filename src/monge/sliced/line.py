"""The problem that is solved on every slice: one-dimensional transport, with one cost for each slice."""

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

from ._aligned_clouds import Clouds, equal_unless
from .slicer import Slicer

__all__ = ["Balanced", "Circular", "LineProblem", "LinearCircular", "visible"]


class LineProblem(Value, ABC):
    """A transport problem between two clouds on every slice: coordinates (*b, slices, n), weights (*b, #slices, n).

    Tensors that it holds broadcast to (*b, slices).
    """

    p: float
    _scalars: ClassVar[int] = 2  # numbers that a point takes on a slice: its coordinate and the gradient

    @abstractmethod
    def _costs(self, lines: Clouds) -> Float[Tensor, "*b slices"]:
        """The p-th power of the distance on every slice."""

    def _measured(self, lines: Clouds) -> tuple[Float[Tensor, "*b slices"], Float[Tensor, "*b slices"]]:
        """The costs, and how far each may lie above the optimum; what is solved exactly has no gap."""
        costs = self._costs(lines)
        return costs, torch.zeros_like(costs, dtype=torch.float64)

    def _posed(self, slicer: Slicer, clouds: Clouds, chunk: slice) -> Clouds:
        """The clouds on the slices of a chunk: what has no coordinate on one gives its mass to the others there."""
        lines, (left, right) = slicer._lines(clouds, chunk), (slicer._seen(side, chunk) for side in clouds[:2])
        if left is None and right is None:
            return lines
        return lines._replace(a=visible(lines.x, lines.a, left), b=visible(lines.y, lines.b, right))


def visible(places: Tensor, weights: Tensor | None, seen: Tensor | None) -> Tensor:
    """Weights of every slice: points without a coordinate give their mass to the others, if there are others."""
    given = equal_unless(weights, places).expand(places.shape)
    if seen is None:
        return given
    kept = given * seen
    left, total = kept.sum(-1, keepdim=True), given.sum(-1, keepdim=True)
    return torch.where(left > 0, kept * (total / torch.where(left > 0, left, 1)), given)


@value
class _OfOrder(LineProblem):
    """A distance between measures of mass one, whose one parameter is its order p >= 1."""

    p: float = 2.0
    _distance: ClassVar[Callable[..., Tensor]]

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=1.0)

    def _costs(self, lines: Clouds) -> Tensor:
        return type(self)._distance(*lines, self.p)

    def _potentials(self, lines: Clouds) -> tuple[Float[Tensor, "*b slices n"], Float[Tensor, "*b slices m"]]:
        """Kantorovich potentials, in float64: the gradient of the cost by the weights, centred, and the cost."""
        u, v, a, b = lines.map(lambda held: held.detach().double())
        a, b = (equal_unless(w, side).expand(side.shape).clone().requires_grad_() for side, w in ((u, a), (v, b)))
        with torch.enable_grad():
            scaled = (a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))
            cost = type(self)._distance(u, v, *scaled, self.p)
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

    _distance = staticmethod(kernels.line_distance)

    def _potentials(self, lines: Clouds) -> tuple[Tensor, Tensor]:
        return kernels.line_potentials(*lines, self.p)


@value
class Circular(_OfOrder):
    """Wasserstein distance on the circle, coordinates in turns.

    Args:
        p: Order, at least 1.

    Example:
        >>> import torch
        >>> from monge.sliced import GreatCircles, estimate
        >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> estimate(x, y, slicer=GreatCircles(torch.eye(2)[None]), line=Circular(1.0)).cost  # a quarter turn
        tensor(0.2500)
    """

    _distance = staticmethod(kernels.circle_distance)


@value
class LinearCircular(_OfOrder):
    """Linear circular transport: on the circle, but without the search for the best cut; coordinates in turns.

    Args:
        p: Order, at least 1.

    Example:
        >>> LinearCircular()
        LinearCircular(p=2.0)
    """

    _distance = staticmethod(kernels.linear_circle_distance)
