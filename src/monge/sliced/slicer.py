"""Slicers: families of slices, each of which gives every point one coordinate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import Self

from monge._checks import check_number
from monge._value import Value, value
from monge.errors import InputError
from monge.kernels.derivatives import distances

from ._aligned_clouds import Clouds, per_slice

__all__ = [
    "ALL",
    "STRAIGHT",
    "Augmented",
    "LinearSlicer",
    "Network",
    "ParametricSlicer",
    "Polynomial",
    "Slicer",
    "Spheres",
]

ALL = slice(None)


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

    @property
    def _batch(self) -> torch.Size:
        """Leading dimensions: slices that differ from problem to problem."""
        return torch.Size(())

    def _seen(self, points: Float[Tensor, "*b n d"], chunk: slice) -> Bool[Tensor, "*b chunk n"] | None:
        """Which points have a coordinate on which slice; None, which is the rule, for all on all."""
        return None

    def _prepared(self, clouds: Clouds) -> Clouds:
        """The clouds as coordinates are taken of them: in single precision at least."""
        return clouds.wide()

    def _lines(self, clouds: Clouds, chunk: slice = ALL) -> Clouds:
        """Prepared clouds on the slices of a chunk: coordinates (*b, chunk, n), weights (*b, 1, n)."""
        x, y, a, b = clouds
        return Clouds(self._coordinates(x, chunk), self._coordinates(y, chunk), *per_slice(a, b))

    def _projected(self, clouds: Clouds) -> Clouds:
        """Clouds on all slices, whose coordinates are constants."""
        return self._lines(self._prepared(clouds._replace(x=clouds.x.detach(), y=clouds.y.detach())))


class ParametricSlicer(Slicer):
    """Slices that are given by parameters, which are the first field; their leading dimensions are problems.

    Each of these problems has its own slices.
    """

    _core: ClassVar[int] = 1  # dimensions of the parameters of one slice

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self._parameters.shape[-1 - self._core]

    @property
    def _batch(self) -> torch.Size:
        return self._parameters.shape[: -1 - self._core]

    @property
    def _parameters(self) -> Tensor:
        return next(self._tensors())


class _Family(ParametricSlicer):
    """Slices that differ by a unit vector, so that one can look for the best of them."""

    theta: Tensor

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        return self.theta[..., chunk, :].to(points.dtype) @ self._features(points).mT

    def _features(self, points: Tensor) -> Tensor:
        """What the parameters weigh, the coordinates of the points themselves if not said."""
        return points

    def _at(self, theta: Float[Tensor, "*b slices k"]) -> Self:
        """The same family at other parameters."""
        return self._replace(theta=theta)


@value
class LinearSlicer(_Family):
    r"""Projections $\langle\theta_l, x\rangle$ on straight lines.

    Args:
        theta: (*b, L, d) unit vectors; see `directions`.

    Example:
        >>> import torch
        >>> LinearSlicer(torch.eye(2)).count
        2
    """

    theta: Float[Tensor, "*b slices d"]

    def _prepared(self, clouds: Clouds) -> Clouds:
        # Far from the origin a product with a direction rounds what a difference of points keeps.
        clouds = super()._prepared(clouds)
        centre = clouds.x.detach().mean(-2, keepdim=True)
        return clouds._replace(x=clouds.x - centre, y=clouds.y - centre)


STRAIGHT = LinearSlicer(torch.empty(0, 1))  # what straight lines do to clouds, whatever their directions


@value
class Polynomial(_Family):
    r"""Homogeneous polynomials of odd degree, $\sum_{|\alpha| = q} \theta_\alpha x^\alpha$.

    Odd degrees keep the generalised Radon transform injective, so the sliced distance is a metric.

    Args:
        theta: (*b, L, C(d + q - 1, q)) unit vectors of coefficients.
        degree: q, odd.

    Source:
        Kolouri et al., Generalized sliced Wasserstein distances (arXiv 1902.00434).

    Example:
        >>> import torch
        >>> monomials(torch.ones(1, 3), 3).shape  # coefficients of a cubic in three variables
        torch.Size([1, 10])
    """

    theta: Float[Tensor, "*b slices k"]
    degree: int = 3

    def __post_init__(self) -> None:
        check_number("degree", self.degree, low=1)
        if self.degree % 2 == 0:
            raise InputError(
                f"degree must be odd, but is {self.degree}: an even polynomial cannot tell x from -x, "
                f"so that the distance would not be a metric; take {self.degree + 1}."
            )

    def _features(self, points: Tensor) -> Tensor:
        return monomials(points, self.degree)


@value
class Spheres(_Family):
    r"""Distances from points on a large sphere, $\lVert x - r\theta_l\rVert$: slices are spheres, not planes.

    These are the circular generalised slices. If $r$ is large compared with the data, they are nearly planes, and their
    Radon transform is injective. The gradient at a centre itself is zero.

    Args:
        theta: (*b, L, d) unit vectors.
        radius: r > 0.

    Source:
        Kolouri et al., Generalized sliced Wasserstein distances (arXiv 1902.00434).

    Example:
        >>> import torch
        >>> Spheres(torch.eye(2), radius=5.0)._coordinates(torch.tensor([[1.0, 0.0]]), slice(0, 1))
        tensor([[4.]])
    """

    theta: Float[Tensor, "*b slices d"]
    radius: float = 10.0

    def __post_init__(self) -> None:
        check_number("radius", float(self.radius), low=0.0, strict=True)

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        return distances(self.radius * self.theta[..., chunk, :].to(points.dtype), points)


@value
class Augmented(_Family):
    r"""Projections of points together with features of them, $\langle\theta_l, (x, \phi(x))\rangle$.

    The points themselves are a part of what is projected, so that the distance is a metric for any features.

    Args:
        theta: (*b, L, d + k) unit vectors.
        features: phi, maps (*b, n, d) to (*b, n, k).

    Source:
        Chen, Yang, Li, Augmented sliced Wasserstein distances (arXiv 2006.08812).

    Example:
        >>> import torch
        >>> Augmented(torch.eye(4), torch.sin)._coordinates(torch.zeros(5, 2), slice(None)).shape
        torch.Size([4, 5])
    """

    theta: Float[Tensor, "*b slices k"]
    features: Callable[[Tensor], Tensor]

    def _features(self, points: Tensor) -> Tensor:
        return torch.cat([points, self.features(points)], -1)


@value
class Network(Slicer):
    """Coordinates from any callable, for example a neural network with one output per slice.

    The distance is a metric only if two different measures always differ on some slice.

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
        return self.network(points)[..., chunk].mT


def monomials(points: Float[Tensor, "*b n d"], degree: int) -> Float[Tensor, "*b n k"]:
    """All products of ``degree`` coordinates, repetitions allowed, in lexicographic order.

    Example:
        >>> import torch
        >>> monomials(torch.tensor([[2.0, 3.0]]), 2)
        tensor([[4., 6., 9.]])
    """
    index = torch.combinations(torch.arange(points.shape[-1], device=points.device), degree, with_replacement=True)
    return points[..., index].prod(-1)
