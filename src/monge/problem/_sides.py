"""Two marginals and a cost, as they are given, checked and made to fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._checks import check_same
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry, PointCloud

from .at_most import AtMost
from .fixed import Fixed
from .marginal import Marginal, column, rounding

__all__ = ["as_marginal", "as_mass", "between", "check_batch", "check_dtypes", "check_sides", "equalised", "uniform"]


def between(x: Tensor | Geometry, y: Tensor | None, cost: Any) -> Geometry:
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


def uniform(n: int, geometry: Geometry) -> Tensor:
    """Weights 1/n, in the dtype in which weights are kept."""
    wide = torch.promote_types(geometry.dtype, torch.float32)
    return torch.full((n,), 1.0 / n, dtype=wide, device=geometry.device)


def as_marginal(given: Marginal | Tensor | None, n: int, geometry: Geometry) -> Marginal:
    if isinstance(given, Marginal):
        return given
    return Fixed._make(weights=uniform(n, geometry)) if given is None else Fixed(given)


def check_dtypes(geometry: Geometry, source: Marginal, target: Marginal) -> None:
    """Weights must have the dtype of the cost; beside a cost in half precision float32 will do."""
    like = torch.empty((), dtype=geometry.dtype, device=geometry.device)
    half = like.dtype in (torch.float16, torch.bfloat16)
    held = {"source": source.weights, "target": target.weights}
    check_same(
        cost=like,
        **{name: w.to(like.dtype) if half and w.dtype == torch.float32 else w for name, w in held.items()},
    )


def check_sides(geometry: Geometry, source: Marginal, target: Marginal) -> None:
    for side, marginal, n in zip(("source", "target"), (source, target), geometry.shape, strict=True):
        if marginal.weights.shape[-1] != n:
            raise ShapeError(
                f"{side} must have one weight for each of the {n} points of its side of the cost, "
                f"but has {marginal.weights.shape[-1]}: source belongs to the rows, target to the columns."
            )
    check_batch(cost=geometry.batch_shape, source=source.weights.shape[:-1], target=target.weights.shape[:-1])


def check_batch(**shapes: torch.Size) -> None:
    try:
        broadcast_shapes(*shapes.values())
    except RuntimeError as error:
        told = ", ".join(f"{tuple(shape)} for {name}" for name, shape in shapes.items())
        raise ShapeError(
            f"batch dimensions must broadcast, but are {told}: give each one problem, or as many as the others."
        ) from error


def equalised(source: Fixed, target: Fixed) -> Tensor:
    """The target weights in float64, scaled so that rounding does not make the problem infeasible."""
    given = target.weights.double()
    a, b = source.weights.detach().double().sum(-1), given.detach().sum(-1)
    difference = (a - b).abs() / torch.maximum(a, b)
    if bool((difference > max(rounding(side.weights.dtype) for side in (source, target))).any()):
        first = difference.argmax()
        a, b = (total.broadcast_to(difference.shape).reshape(-1)[first] for total in (a, b))
        raise InfeasibleError(
            "source and target must have the same mass when both are fixed, but have "
            f"{float(a):.9g} and {float(b):.9g}: normalise the weights, or use Relaxed, AtMost or mass=."
        )
    return given * column(a / b)


def as_mass(mass: float | Tensor, source: Marginal, target: Marginal) -> Tensor:
    weights = source.weights
    mass = torch.as_tensor(mass, dtype=weights.dtype, device=weights.device)
    slack = rounding(weights.dtype)
    for side, marginal in (("source", source), ("target", target)):
        if not isinstance(marginal, (Fixed, AtMost)):
            raise InputError(
                f"mass= needs a source and a target that are AtMost or Fixed, but {side} is "
                f"{type(marginal).__name__}: its price already decides the mass."
            )
        total = marginal.total.detach()
        if not bool(((mass > 0) & (mass <= total * (1 + slack))).all()):
            raise InfeasibleError(
                f"mass must be positive and at most the mass of {side}, {float(total.min()):.9g}, but is "
                f"{mass.tolist()}: ask for less, or add weight to {side}."
            )
        if isinstance(marginal, Fixed) and not bool(((mass - total).abs() <= slack * total).all()):
            raise InfeasibleError(
                f"{side} is Fixed with mass {float(total.min()):.9g}, so mass={mass.tolist()} contradicts it: "
                f"use AtMost for {side}."
            )
    return mass
