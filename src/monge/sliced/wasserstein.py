"""The sliced Wasserstein distance."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_number
from monge._users_arrays import takes_arrays

from ._aligned_clouds import Clouds, aligned, centred, equal_unless
from .directions import drawn
from .estimate import Estimate, enough, estimate
from .line import Balanced
from .slicer import LinearSlicer

__all__ = ["dirac_factor", "effective_dimension", "sliced_wasserstein"]


@takes_arrays
def sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    p: float = 2.0,
    slices: int = 128,
    theta: Float[Tensor, "*b slices d"] | None = None,
    kind: str = "orthogonal",
    scale: str | float | None = None,
    control_variate: str | None = None,
    tol: float | None = None,
    max_slices: int = 100_000,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The sliced Wasserstein distance, exact on every slice, in memory that does not depend on their number.

    $$SW_p^p(\mu, \nu) = \mathbb{E}_{\theta \sim S^{d-1}} W_p^p(\langle\theta, \cdot\rangle_\# \mu,
    \langle\theta, \cdot\rangle_\# \nu).$$
    For a loss use ``.cost``, the p-th power; ``.distance`` is its root. If all calls use the same ``theta``, the
    sampled distance is an exact pseudo-metric.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`, equal if None. A point of weight zero is absent.
        b: The same for `y`.
        p: Order, at least 1.
        slices: How many directions to draw; with `tol`, how many to start with. Orthogonal directions are rounded up to
            whole bases, because one incomplete basis would cause most of the variance.
        theta: Directions to use instead of new ones; with leading dimensions, every problem has its own directions.
        kind: Law of the directions, see `directions`.
        scale: A factor of the p-th power. ``"dimension"`` divides by the value for two Diracs at distance one, so that
            the result does not depend on the dimension alone; ``"effective"`` uses the number of dimensions that the
            data fill instead (the participation ratio of the pooled covariance); a number is the factor itself. It
            changes a loss by a constant factor only.
        control_variate: ``"lower"``, ``"upper"`` or ``"quadratic"``, see `estimate`. It reduces the variance of
            independent directions, as whole bases do for orthogonal ones.
        tol: Draw more directions until the standard error of the cost is at most this share of it, see `refine`.
        max_slices: The largest number of directions that `tol` may draw.
        generator: Source of the directions.

    Returns:
        An `Estimate` with ``cost``, ``distance``, ``standard_error`` and the cost of every slice.

    Source:
        Bonneel, Rabin, Peyre, Pfister, Sliced and Radon Wasserstein barycenters of measures (2015); Tran, Bai,
        Shahbazi, Hershey, Kolouri, Understanding learning with sliced-Wasserstein requires rethinking informative
        slices (arXiv 2411.10651), the scale.

    Example:
        >>> import torch
        >>> x = torch.zeros(1, 3); y = torch.tensor([[2.0, 0.0, 0.0]])
        >>> found = sliced_wasserstein(x, y, slices=3, generator=torch.Generator().manual_seed(0))
        >>> round(float(found.cost), 4)  # |x - y|^2 / d, exactly, on an orthonormal basis
        1.3333
    """
    line, clouds = Balanced(p), aligned(x, y, a, b)
    factor = _factor(scale, clouds, p)
    check_number("slices", slices, low=1)

    def draw(count: int) -> Estimate:
        given, block = drawn(x, theta, count, kind, generator)
        return estimate(*clouds, slicer=LinearSlicer(given), line=line, control_variate=control_variate, block=block)

    found = enough(draw, slices, tol if theta is None else None, max_slices)
    return found if factor is None else found._scaled(factor)


def dirac_factor(dimension: int, p: float) -> float:
    r"""$\mathbb{E}|\theta_1|^p$ over the sphere: the p-th power of SW between Diracs at distance one.

    Example:
        >>> dirac_factor(4, 2.0)
        0.25
    """
    return round(float(_dirac_factors(torch.tensor(float(dimension), dtype=torch.float64), p)), 15)


def _dirac_factors(dimension: Tensor, p: float) -> Tensor:
    up, down = torch.lgamma(dimension / 2) - math.lgamma(0.5), torch.lgamma((dimension + p) / 2)
    return (math.lgamma((p + 1) / 2) + up - down).exp()


def effective_dimension(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
) -> Float[Tensor, "*b"]:
    """The participation ratio (tr S)^2 / tr S^2 of the pooled covariance: how many dimensions the data fill.

    Example:
        >>> import torch
        >>> effective_dimension(torch.eye(3) * 2, torch.zeros(1, 3)) > 1
        tensor(True)
    """
    # Of n times the covariance, as many points as are there.
    sides = [(side.double(), w) for side, w in ((x, a), (y, b))]
    pooled = torch.cat([_count(side, w).sqrt() * centred(side, w)[1] for side, w in sides], -2)
    wide = pooled.shape[-1] > pooled.shape[-2]
    gram = pooled @ pooled.mT if wide else pooled.mT @ pooled
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.where(trace > 0, trace.square() / gram.square().sum((-1, -2)).clamp_min(1e-300), 1.0)


def _count(points: Tensor, weights: Tensor | None) -> Tensor:
    return (equal_unless(weights, points[..., 0]) > 0).double().sum(-1)[..., None, None]


def _factor(scale: str | float | None, clouds: Clouds, p: float) -> Tensor | None:
    if scale is None:
        return None
    x = clouds.x
    if not isinstance(scale, str):
        check_number("scale", float(scale), low=0.0, strict=True)
        return x.new_tensor(float(scale))
    check_choice("scale", scale, ("dimension", "effective"))
    full = dirac_factor(x.shape[-1], p)
    if scale == "dimension":
        return x.new_tensor(1.0 / full)
    filled = effective_dimension(*clouds.map(Tensor.detach))
    return (_dirac_factors(filled, p) / full).to(x.dtype)
