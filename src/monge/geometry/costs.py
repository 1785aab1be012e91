"""Costs between points by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor

from monge.errors import InputError
from monge.registry import Registry

from .base import Geometry
from .point_cloud import PointCloud

__all__ = ["COSTS", "cost_between"]


def _functions_only(name: str, thing: object) -> None:
    if not callable(thing):
        raise InputError(f"{name!r} must be a function (x, y) -> Geometry, or a class of one, but is {thing!r}.")


COSTS: Registry[Callable[[Tensor, Tensor], Geometry]] = Registry("cost", check=_functions_only)
"""Functions that take points (*b, n, d) and (*b, m, d) and give the `Geometry` between them, by the name that
`monge.couple` takes as its ``cost``."""
for _name, _told in {
    "sqeuclidean": "Squared Euclidean distance, with no factor one half.",
    "euclidean": "Euclidean distance.",
    "cityblock": "Sum of the differences of all coordinates.",
    "chebyshev": "Largest difference of a coordinate.",
    "minkowski": "The norm of order p, which is 2 unless PointCloud(x, y, 'minkowski', p=...) is built.",
    "cosine": "One less the cosine of the angle.",
    "dot": "The inner product, negative.",
}.items():
    COSTS.register(_name, partial(PointCloud, cost=_name), _told)


def cost_between(
    x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b m d"], cost: str | Callable[[Tensor, Tensor], Tensor]
) -> Geometry:
    """The cost between two clouds, by its name in `COSTS`, or by a function of points as in `PointCloud`.

    Raises:
        InputError: If there is no cost of this name, or what is registered gives no geometry.

    Example:
        >>> import torch
        >>> from monge.geometry import cost_between
        >>> cost_between(torch.zeros(1, 2), torch.ones(1, 2), "cityblock").dense()
        tensor([[2.]])
    """
    if not isinstance(cost, str):
        return PointCloud(x, y, cost)
    geometry = COSTS[cost](x, y)
    if not isinstance(geometry, Geometry):
        raise InputError(
            f"cost={cost!r} must give a monge.geometry.Geometry, but gave {type(geometry).__name__}: mend the function "
            "that is registered under this name."
        )
    return geometry
