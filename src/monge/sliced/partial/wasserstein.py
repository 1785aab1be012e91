"""Sliced partial transport of point clouds, in space and on the sphere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_number
from monge._users_arrays import takes_arrays

from .._aligned_clouds import aligned
from ..directions import drawn
from ..estimate import Estimate, averaged
from ..slicer import LinearSlicer
from ..sphere.wasserstein import on_sphere, over_frames
from .problem import Amount, CircularPartial, Partial

__all__ = ["sliced_partial_wasserstein", "spherical_sliced_partial_wasserstein"]


@takes_arrays
def sliced_partial_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: Amount = None,
    mass: Amount | str = None,
    p: float = 2.0,
    theta: Float[Tensor, "*b slices d"] | None = None,
    slices: int = 128,
    kind: str = "orthogonal",
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Sliced optimal partial transport: clouds of any mass are compared, and points may stay without a partner.

    $$\mathrm{SOPT}_\lambda = \mathbb{E}_\theta\, \mathrm{OPT}_\lambda(\langle\theta, \cdot\rangle_\# \mu,
    \langle\theta, \cdot\rangle_\# \nu)$$
    with the problem of `partial_cost` on every slice. It is exact there, and the memory does not depend on the number
    of slices. With a penalty, the p-th root is a metric between measures of any mass. Without penalty and mass, every
    point of the smaller cloud is matched with one of the larger cloud (SPOT). If no masses are given, every point has
    mass one, and the cost is a sum over points: for equal numbers of points and a large penalty, it is n times that of
    `sliced_wasserstein`.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative masses of `x`, used as they are; None is one each. A point of mass zero is absent.
        b: The same for `y`.
        penalty: Price of leaving a unit of mass, on either side: a number, or a tensor that broadcasts to (*b, slices);
            differentiable, its gradient is the mean mass left behind. It has the unit of the cost, that is, of the p-th
            power of the data.
        mass: The mass to move instead: a number, a tensor that broadcasts in the same way, or ``"knee"``.
        p: Order, at least 1.
        theta: Directions to use, drawn if None.
        slices: How many to draw; orthogonal ones are rounded up to whole bases.
        kind: Their law, see `directions`.
        generator: Source of the directions.

    Returns:
        An `Estimate` with ``cost``, ``distance``, ``standard_error`` and the cost of every slice.

    Raises:
        InputError: Both a penalty and a mass.
        InfeasibleError: More mass than a cloud has.

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049); Bonneel, Coeurjolly, SPOT:
        Sliced partial optimal transport (2019).

    Example:
        >>> import torch
        >>> from monge.sliced import sliced_partial_wasserstein
        >>> x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
        >>> y = torch.cat([x, torch.full((2, 2), 1e3)])  # two outliers cost the penalty, no more
        >>> sliced_partial_wasserstein(x, y, penalty=0.5, theta=torch.eye(2)).cost
        tensor(1.)
    """
    check_number("slices", slices, low=1)
    line = Partial(penalty, mass, p)
    theta, block = drawn(x, theta, slices, kind, generator)
    slicer = LinearSlicer(theta)
    return averaged(aligned(x, y, a, b, slices=slicer._batch, masses=True), slicer, line, block=block)


_LINES = {"great-circles": CircularPartial, "stereographic": Partial, "vertical": Partial}


@takes_arrays
def spherical_sliced_partial_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: Amount = None,
    mass: Amount | str = None,
    family: str = "great-circles",
    p: float = 1.0,
    slices: int = 128,
    frame: Float[Tensor, "slices 2 d"] | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Sliced partial transport of measures on the sphere.

    The slices are those of `spherical_sliced_wasserstein`: great circles with lengths in turns (SSPW), lines of a
    stereographic map, or heights; on each of them partial transport is exact. On great circles, equal masses and p = 1
    are fast; all other cases are linear programs on every slice.

    Args:
        x: Points on the unit sphere of R^d.
        y: Points on the same sphere.
        a: Non-negative masses of `x`, used as they are; None is one each.
        b: The same for `y`.
        penalty: Price of leaving a unit of mass, on either side, see `sliced_partial_wasserstein`.
        mass: The mass to move instead. Without penalty and mass, all mass of the smaller cloud is moved.
        family: ``"great-circles"``, ``"stereographic"`` or ``"vertical"``.
        p: Order, at least 1.
        slices: How many frames to draw.
        frame: Frames to use instead.
        generator: Source of the frames.

    Returns:
        An `Estimate`.

    Raises:
        InputError: Points off the sphere by more than a rounding error of 1e-3.

    Source:
        Kolouri, PAWC: Efficient computation of partial Wasserstein distances on the circle (2026).

    Example:
        >>> import torch
        >>> from monge.sliced.partial import spherical_sliced_partial_wasserstein
        >>> x = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
        >>> found = spherical_sliced_partial_wasserstein(x, x[:12], slices=50)  # a part is found in the whole
        >>> bool(found.cost < 1e-6)
        True
    """
    check_choice("family", family, _LINES)
    clouds = on_sphere(x, y, a, b, frame=frame, masses=True)
    return over_frames(clouds, family, _LINES[family](penalty, mass, p), frame, slices, generator)._made_of(x.dtype)
