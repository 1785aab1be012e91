"""From what a user has to a problem."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_choice, check_weights
from monge.errors import InputError
from monge.geometry import Geometry, PointCloud
from monge.problem import AtMost, Fixed, Linear, Marginal, Relaxed
from monge.problem.epsilon import Relative

__all__ = ["distance_cloud", "pose"]


def pose(
    x: Tensor | Geometry,
    y: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    *,
    cost: Any = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.0,
    mass: float | Tensor | None = None,
    rho: float | Tensor | None = None,
    penalty: Literal["kl", "l2", "tv"] = "kl",
) -> Linear:
    """The linear problem between two clouds, or on a geometry."""
    geometry = _geometry(x, y, cost)
    if rho is not None and mass is not None:
        raise InputError(f"Give either rho or mass, but got rho={rho} and mass={mass}: both decide how much moves.")
    if penalty != "kl" and rho is None:
        check_choice("penalty", penalty, ("kl", "l2", "tv"))
        raise InputError(f"penalty={penalty!r} says how a marginal may be missed: give its price, rho.")
    n, m = geometry.shape
    wide = working_dtype(geometry)  # in which Linear keeps weights
    sides: list[Marginal] = []
    for name, weights, size in (("a", a, n), ("b", b, m)):
        if weights is None:
            weights = torch.full((size,), 1.0 / size, dtype=wide, device=geometry.device)
        check_weights(name, weights, size)
        if rho is not None:
            sides.append(Relaxed(weights, rho, penalty))
        else:
            sides.append(Fixed(weights) if mass is None else AtMost(weights))
    source, target = sides
    return Linear(geometry, source, target, epsilon=epsilon, mass=mass)


def distance_cloud(x: Tensor, y: Tensor, p: float) -> PointCloud:
    """The p-th power of the Euclidean distance."""
    return PointCloud(x, y) if p == 2 else PointCloud(x, y, "euclidean", power=float(p))


def _geometry(x: Tensor | Geometry, y: Tensor | None, cost: Any) -> Geometry:
    if not isinstance(x, Geometry):
        if y is None:
            raise InputError(
                "y must be given: pass two clouds, as in couple(x, y), or one geometry that holds both sides; "
                "a matrix of costs is CostMatrix(cost)."
            )
        return PointCloud(x, y, cost)
    if y is not None:
        raise InputError(
            "y must be left out when the first argument is a geometry, which holds both sides: weights are a= and b=."
        )
    if cost != "sqeuclidean":
        raise InputError(f"cost={cost!r} must be left out when the first argument is a geometry, which is the cost.")
    return x
