"""Two marginals and a cost, as they are given, checked and made to fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_batches, check_same
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry

from .at_most import AtMost
from .fixed import Fixed
from .free import Free
from .marginal import Marginal, column, rounding
from .relaxed import Relaxed


def fitted(geometry: Geometry, source: Marginal, target: Marginal) -> tuple[Marginal, Marginal]:
    """Both sides, checked against the cost, in the dtype in which weights are kept, and of one mass if both are fixed.

    Weights must have the dtype of the cost; beside a cost in half precision float32 will do.
    """
    like = torch.empty((), dtype=geometry.dtype, device=geometry.device)
    wide = working_dtype(like)
    held = {"source": source.weights, "target": target.weights}
    for (side, weights), n in zip(held.items(), geometry.shape, strict=True):
        if weights.shape[-1] != n:
            raise ShapeError(
                f"{side} must have one weight for each of the {n} points of its side of the cost, "
                f"but has {weights.shape[-1]}: source belongs to the rows, target to the columns."
            )
    check_batches(cost=geometry.batch_shape, **{side: weights.shape[:-1] for side, weights in held.items()})
    check_same(
        cost=like,
        **{side: weights.to(like.dtype) if weights.dtype == wide else weights for side, weights in held.items()},
    )
    if isinstance(source, Fixed) and isinstance(target, Fixed):
        target = Fixed._make(weights=_equalised(source, target))
    # Half precision has too few digits for sums: weights are computed with as potentials are.
    return source.to(wide), target.to(wide)


def _equalised(source: Fixed, target: Fixed) -> Tensor:
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
                f"{type(marginal).__name__}, whose price already decides the mass: leave mass out, or use AtMost."
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


def as_prices(rho: Any) -> tuple[Any, Any]:
    """The prices of missing the two marginals: those of a pair, or one for both."""
    pair = rho if isinstance(rho, tuple) else (rho, rho)
    if len(pair) != 2:
        raise InputError(
            f"rho must be one price, or a pair with a price for each side, but has {len(pair)}: pass one or two."
        )
    if all(not isinstance(price, Tensor) and price == 0 for price in pair):
        raise InputError(
            f"rho must be positive on one side at least, but is {rho!r}: where no marginal has a price, the empty plan "
            "is optimal."
        )
    return pair


def side_at(rho: Any, weights: Tensor, penalty: str) -> Marginal:
    """What a price asks of a marginal: everything if it is infinite, nothing if it is zero."""
    if not isinstance(rho, Tensor) and rho in (0, math.inf):
        return (Fixed if rho else Free)._make(weights=weights)
    return Relaxed(weights, rho, penalty)


def flattened(weights: Any, shape: Sequence[int]) -> Any:
    """Weights in the shape of a grid, such as a picture, as one row of weights; others as they are."""
    axes = len(shape)
    if not isinstance(weights, Tensor) or axes < 2 or weights.shape[-axes:] != torch.Size(shape):
        return weights
    return weights if weights.shape[-1] == math.prod(shape) else weights.flatten(-axes)
