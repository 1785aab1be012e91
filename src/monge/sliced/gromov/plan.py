"""Of plans between spaces of their own that slices induce, the best one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_points, check_same
from monge._transforms import transformable
from monge.coupling import Coupling
from monge.errors import ShapeError
from monge.geometry import Geometry

from ..plan.lift import monotone_plan
from ..slicer import Slicer
from .wasserstein import gromov_cost

__all__ = ["best_gromov_plan"]


@transformable
def best_gromov_plan(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m e"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    slicer: Slicer,
    slicer_y: Slicer | None = None,
    spaces: tuple[Geometry, Geometry] | None = None,
) -> Coupling:
    """Of the two monotone couplings of every slice, increasing and decreasing, the one that distorts distances least.

    Two sorts and a product with a thin matrix a slice, exact marginals, an upper bound of Gromov-Wasserstein.

    Args:
        x: Sources.
        y: Targets, in a space of their own.
        a: Their weights, equal of mass one if None.
        b: The same for the targets.
        slicer: Slices of the sources.
        slicer_y: Slices of the targets, as many; the same ones if None.
        spaces: The distances within both clouds; squared Euclidean ones if None.

    Raises:
        ShapeError: Numbers of slices that differ.

    Example:
        >>> import torch
        >>> from monge.sliced import Linear
        >>> x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)); y = 3 - x  # a reflection
        >>> bool((best_gromov_plan(x, y, slicer=Linear(torch.eye(2))).assignment() == torch.arange(9)).all())
        True
    """
    check_points("x", x)
    check_points("y", y)
    check_same(x=x, y=y, a=a, b=b)
    other = slicer if slicer_y is None else slicer_y
    if slicer.count != other.count:
        raise ShapeError(f"slicer and slicer_y must have as many slices, but have {slicer.count} and {other.count}.")
    u, v = (s._coordinates(side.detach(), slice(None)) for s, side in ((slicer, x), (other, y)))
    left, right = (x, y) if spaces is None else spaces
    plans = [monotone_plan(u, sign * v, a, b) for sign in (1, -1)]
    with torch.no_grad():
        costs = torch.stack([gromov_cost(plan, left, right) for plan in plans])
        sign, best = divmod(int(costs.argmin()), slicer.count)
    return plans[sign][best]
