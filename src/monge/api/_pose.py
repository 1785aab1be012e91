"""From what a user has to a problem."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from monge._checks import check_choice, check_weights
from monge.errors import InputError
from monge.geometry import Geometry, PointCloud
from monge.problem import AtMost, Fixed, Linear, Relaxed
from monge.problem.epsilon import Relative

__all__ = ["pose"]


def pose(
    x: Tensor | Geometry,
    y: Tensor | None,
    a: Tensor | None,
    b: Tensor | None,
    *,
    cost: Any,
    epsilon: float | Tensor | Relative,
    mass: float | Tensor | None = None,
    rho: float | Tensor | None = None,
    penalty: Literal["kl", "l2", "tv"] = "kl",
) -> Linear:
    """The linear problem between two clouds, or on a geometry."""
    if isinstance(x, Geometry):
        if y is not None:
            raise InputError("y must be left out when the first argument is a geometry, which has both sides.")
        geometry = x
    elif y is None:
        raise InputError("y must be given: couple(x, y) needs two clouds, or one geometry.")
    else:
        geometry = PointCloud(x, y, cost)
    n, m = geometry.shape
    like = torch.empty((), dtype=geometry.dtype, device=geometry.device)
    sides = []
    for name, weights, size in (("a", a, n), ("b", b, m)):
        if weights is None:
            weights = torch.full((size,), 1.0 / size, dtype=like.dtype, device=like.device)
        check_weights(name, weights, size)
        if rho is not None and mass is not None:
            raise InputError(f"Give either rho or mass, but got rho={rho} and mass={mass}: both decide how much moves.")
        if rho is not None:
            check_choice("penalty", penalty, ("kl", "l2", "tv"))
            sides.append(Relaxed(weights, rho, penalty))
        else:
            sides.append(Fixed(weights) if mass is None else AtMost(weights))
    return Linear(geometry, *sides, epsilon=epsilon, mass=mass)
