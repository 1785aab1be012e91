"""What is solved on every slice: a one-dimensional transport problem with a cost per row."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._value import Value, value

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


class _OfOrder(LineProblem):
    """A problem whose one parameter is its order p >= 1."""

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=1.0)


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

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return kernels.line_distance(u, v, _per_slice(a), _per_slice(b), self.p)


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

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return kernels.circle_distance(u, v, _per_slice(a), _per_slice(b), self.p)


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

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        return kernels.linear_circle_distance(u, v, _per_slice(a), _per_slice(b), self.p)


def _per_slice(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.unsqueeze(-2)
