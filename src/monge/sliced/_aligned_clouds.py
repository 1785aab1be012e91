"""Two clouds, made ready for slices: checked, of one batch, in a precision that sorts well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import (
    check_batches,
    check_clouds,
    check_finite,
    check_floating,
    check_number,
    check_points,
    check_same,
    check_vector,
    check_weights,
)
from monge.errors import ShapeError


class Clouds(NamedTuple):
    """Points and weights that share their batch dimensions: in space, on a line, or on many slices."""

    x: Tensor  # (*b, n, d), or (*b, n) on a line
    y: Tensor  # (*b, m, e)
    a: Tensor | None = None  # (*b, n)
    b: Tensor | None = None  # (*b, m)

    def map(self, function: Callable[[Tensor], Tensor]) -> Clouds:
        """The same with ``function`` applied to points and weights."""
        return Clouds(*(None if t is None else function(t) for t in self))  # type: ignore[arg-type]

    def wide(self) -> Clouds:
        """The same in the precision to project and to sort in: half precision would make ties of neighbours."""
        return self.map(lambda held: held.to(working_dtype(held)))


def aligned(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    slices: tuple[int, ...] = (),
    one_space: bool = True,
    masses: bool = False,
) -> Clouds:
    """Leading dimensions are problems, of points, weights and slices alike; they broadcast as in torch.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Weights of `x`.
        b: Weights of `y`.
        slices: Leading dimensions of the slices, which may differ from problem to problem.
        one_space: Whether both clouds must have one dimension.
        masses: Whether a cloud may have no mass at all.
    """
    if one_space:
        check_clouds(x, y, a, b)
    else:
        check_points("x", x)
        check_points("y", y)
        check_same(x=x, y=y, a=a, b=b)
    return _broadcast(Clouds(x, y, a, b), 2, masses, slices=slices)


def on_a_line(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    masses: bool = False,
    names: tuple[str, str] = ("x", "y"),
) -> Clouds:
    """The same for numbers, (*b, n) and (*b, m): positions on a line or a circle, or scores, called by ``names``."""
    for name, places in zip(names, (x, y), strict=True):
        check_floating(name, places)
        if places.ndim < 1 or places.shape[-1] == 0:
            raise ShapeError(f"{name} must have shape (*batch, n), n >= 1, but has {tuple(places.shape)}.")
        check_finite(name, places)
    check_same(**dict(zip((*names, "a", "b"), (x, y, a, b), strict=True)))
    return _broadcast(Clouds(x, y, a, b), 1, masses, names)


def _broadcast(
    clouds: Clouds, core: int, masses: bool, names: tuple[str, str] = ("x", "y"), slices: tuple[int, ...] = ()
) -> Clouds:
    """Checked weights, and everything in the common batch; points have ``core`` dimensions."""
    x, y, a, b = clouds
    batches = {name: points.shape[:-core] for name, points in zip(names, (x, y), strict=True)}
    for name, weights, points in (("a", a, x), ("b", b, y)):
        if weights is not None:
            (_check_masses if masses else check_weights)(name, weights, points.shape[-core])
            batches[name] = weights.shape[:-1]
    batch = check_batches(**batches, slicer=slices)
    x, y = (points.expand(*batch, *points.shape[-core:]) for points in (x, y))
    a, b = (None if weights is None else weights.expand(*batch, -1) for weights in (a, b))
    return Clouds(x, y, a, b)


def _check_masses(name: str, weights: Tensor, n: int) -> None:
    """``weights`` must be finite, non-negative, of shape (*b, n); a measure without mass is allowed."""
    if weights.numel():
        check_number(f"the least of {name}", float(weights.detach().min()), low=0.0)
    check_vector(name, weights, n, "mass per point")


def check_theta(theta: Tensor, d: int) -> None:
    """``theta`` must hold directions of R^d, one a row."""
    if theta.ndim < 2 or theta.shape[-1] != d:
        raise ShapeError(f"theta must have shape (slices, {d}), one direction a row, but has {tuple(theta.shape)}.")


def picked(held: Tensor, best: Tensor) -> Tensor:
    """The entry ``best`` (*b,) of every problem, out of (*b, k, ...)."""
    index = best.reshape(*best.shape, *(1,) * (held.ndim - best.ndim))
    return held.gather(best.ndim, index.expand(*best.shape, 1, *held.shape[best.ndim + 1 :])).squeeze(best.ndim)


def midpoints(count: int, like: Tensor) -> Tensor:
    """The midpoints of equal parts of [0, 1]."""
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count


def noise(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal numbers, the same on any device and in any precision."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(like)


def gathered(points: Tensor, index: Tensor) -> Tensor:
    """Points (*b, n, d) at an index (*b, k)."""
    return points.gather(-2, index[..., None].expand(*index.shape, points.shape[-1]))


def per_slice(a: Tensor | None, b: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Weights (*b, n) as (*b, 1, n): the same on every slice."""
    return None if a is None else a.unsqueeze(-2), None if b is None else b.unsqueeze(-2)


def equal_unless(weights: Tensor | None, scores: Tensor) -> Tensor:
    """The weights of scores (*b, n), 1/n each if there are none."""
    return torch.full_like(scores, 1 / scores.shape[-1]) if weights is None else weights


def of_mass_one(weights: Tensor | None, scores: Tensor) -> Tensor:
    """The weights of scores (*b, n), scaled to mass one in their precision; equal if there are none."""
    if weights is None:
        return equal_unless(weights, scores)
    weights = weights.to(scores.dtype).expand(scores.shape)
    return weights / weights.sum(-1, keepdim=True)


def centred(points: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The means (*b, 1, d), and points around them times the root of their weight: R with R^T R the covariance."""
    weights = of_mass_one(weights, points[..., 0])[..., None]
    mean = (weights * points).sum(-2, keepdim=True)
    # A root has no derivative at zero; absent points have none either.
    root = torch.where(weights > 0, weights, 1).sqrt() * (weights > 0)
    return mean, (points - mean) * root
