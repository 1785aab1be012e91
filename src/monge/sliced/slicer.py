"""What a slice is: a scalar coordinate of every point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from monge._value import Value, value

__all__ = ["Linear", "Network", "Polynomial", "Slicer", "monomials"]


class Slicer(Value, ABC):
    """A family of scalar functions of points, one per slice.

    Coordinates are stored slice-major, (*b, slices, n), so that every sort runs along contiguous memory.
    """

    @property
    @abstractmethod
    def count(self) -> int:
        """How many slices there are."""

    @abstractmethod
    def _coordinates(self, points: Float[Tensor, "*b n d"], chunk: slice) -> Float[Tensor, "*b chunk n"]:
        """The coordinates of all points on the slices of a chunk."""


@value
class Linear(Slicer):
    r"""Projections $\langle\theta_l, x\rangle$ on straight lines.

    Args:
        theta: (L, d) unit vectors; see `directions`.

    Example:
        >>> import torch
        >>> Linear(torch.eye(2)).count
        2
    """

    theta: Float[Tensor, "slices d"]

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.theta.shape[0]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        return self.theta[chunk] @ points.transpose(-1, -2)


@value
class Polynomial(Slicer):
    r"""Homogeneous polynomials of odd degree, $\sum_{|\alpha| = q} \theta_\alpha x^\alpha$.

    Odd degrees keep the generalised Radon transform injective, so the sliced distance is a metric.

    Args:
        theta: (L, C(d + q - 1, q)) unit vectors of coefficients.
        degree: q, odd.

    Source:
        Kolouri et al., Generalized sliced Wasserstein distances (arXiv 1902.00434).

    Example:
        >>> import torch
        >>> monomials(torch.ones(1, 3), 3).shape  # coefficients of a cubic in three variables
        torch.Size([1, 10])
    """

    theta: Float[Tensor, "slices k"]
    degree: int = 3

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.theta.shape[0]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        return self.theta[chunk] @ monomials(points, self.degree).transpose(-1, -2)


@value
class Network(Slicer):
    """Coordinates from any callable, for example a neural network with one output per slice.

    It gives a metric only if no two measures look alike on every slice.

    Args:
        network: Maps (*b, n, d) to (*b, n, L).
        slices: L.

    Example:
        >>> import torch
        >>> Network(torch.nn.Linear(3, 8), 8).count
        8
    """

    network: Callable[[Tensor], Tensor]
    slices: int

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.slices

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        return self.network(points)[..., chunk].transpose(-1, -2)


def monomials(points: Float[Tensor, "*b n d"], degree: int) -> Float[Tensor, "*b n k"]:
    """All products of ``degree`` coordinates, repetitions allowed, in lexicographic order.

    Example:
        >>> import torch
        >>> monomials(torch.tensor([[2.0, 3.0]]), 2)
        tensor([[4., 6., 9.]])
    """
    index = torch.combinations(torch.arange(points.shape[-1], device=points.device), degree, with_replacement=True)
    return points[..., index].prod(-1)
