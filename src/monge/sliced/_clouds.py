"""Two clouds, made ready for slices: checked, of one batch, in a precision that sorts well."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._checks import check_number, check_points, check_same, check_weights
from monge.errors import ShapeError

from .slicer import Slicer

__all__ = ["Clouds", "aligned", "check_masses", "check_theta", "picked", "shares", "together"]


class Clouds(NamedTuple):
    """Points and weights that share their batch dimensions."""

    x: Tensor  # (*b, n, d)
    y: Tensor  # (*b, m, e)
    a: Tensor | None  # (*b, n)
    b: Tensor | None  # (*b, m)
    batch: torch.Size


def aligned(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    slicer: Slicer | None = None,
    one_space: bool = True,
    masses: bool = False,
) -> Clouds:
    """Leading dimensions are problems, of points, weights and slices alike; they broadcast as in torch.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Weights of `x`.
        b: Weights of `y`.
        slicer: Slices, which may differ from problem to problem.
        one_space: Whether both clouds must have one dimension.
        masses: Whether a cloud may have no mass at all.
    """
    check_points("x", x)
    check_points("y", y)
    check_same(x=x, y=y, a=a, b=b)
    if one_space and x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"x and y must live in one space, but have dimension {x.shape[-1]} and {y.shape[-1]}.")
    for name, weights, points in (("a", a, x), ("b", b, y)):
        if weights is not None:
            (check_masses if masses else check_weights)(name, weights, points.shape[-2])
    batch = together(
        x=x.shape[:-2],
        y=y.shape[:-2],
        a=() if a is None else a.shape[:-1],
        b=() if b is None else b.shape[:-1],
        slicer=() if slicer is None else slicer._batch,
    )
    x, y = (points.expand(*batch, *points.shape[-2:]) for points in (x, y))
    a, b = (None if held is None else held.expand(*batch, held.shape[-1]) for held in (a, b))
    return Clouds(x, y, a, b, batch)


def together(**batches: tuple[int, ...]) -> torch.Size:
    """The common batch of everything that was given."""
    try:
        return broadcast_shapes(*batches.values())
    except RuntimeError as error:
        told = ", ".join(f"{name} {tuple(shape)}" for name, shape in batches.items() if shape)
        raise ShapeError(
            f"Leading dimensions are problems of a batch and must broadcast, but they are {told}: expand or unsqueeze "
            f"some of them."
        ) from error


def check_masses(name: str, weights: Tensor, n: int) -> None:
    """``weights`` must be finite, non-negative, of shape (*b, n); a measure without mass is allowed."""
    if weights.numel():
        check_number(f"the least of {name}", float(weights.detach().min()), low=0.0)
    if weights.ndim < 1 or weights.shape[-1] != n:
        raise ShapeError(f"{name} must have shape (*batch, {n}), one mass per point, but has {tuple(weights.shape)}.")


def check_theta(theta: Tensor, d: int) -> None:
    """``theta`` must hold directions of R^d, one a row."""
    if theta.ndim < 2 or theta.shape[-1] != d:
        raise ShapeError(f"theta must have shape (slices, {d}), one direction a row, but has {tuple(theta.shape)}.")


def picked(held: Tensor, best: Tensor) -> Tensor:
    """The entry ``best`` (*b,) of every problem, out of (*b, k, ...)."""
    index = best.reshape(*best.shape, *(1,) * (held.ndim - best.ndim))
    return held.gather(best.ndim, index.expand(*best.shape, 1, *held.shape[best.ndim + 1 :])).squeeze(best.ndim)


def shares(points: Tensor, weights: Tensor | None) -> Tensor:
    """Weights of sum one, equal if there are none."""
    if weights is None:
        return points.new_full(points.shape[:-1], 1 / points.shape[-2])
    weights = weights.to(points.dtype).expand(points.shape[:-1])
    return weights / weights.sum(-1, keepdim=True)
