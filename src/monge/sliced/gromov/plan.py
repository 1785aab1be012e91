"""The best plan from slices between two different spaces."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_batches
from monge._users_arrays import takes_arrays
from monge.coupling import Coupling
from monge.errors import ShapeError
from monge.geometry import Geometry

from .._aligned_clouds import Clouds, aligned, per_slice
from ..plan.lift import chosen, in_dtype, monotone_plan
from ..slicer import Slicer
from .wasserstein import gromov_cost, within

__all__ = ["best_gromov_plan"]


@takes_arrays
def best_gromov_plan(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m e"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    slicer_y: Slicer | None = None,
    spaces: tuple[Geometry, Geometry] | None = None,
) -> Coupling:
    """The plan that changes distances least, among the increasing and the decreasing monotone couplings of all slices.

    A slice takes two sorts and a product with a thin matrix. The plan has exact marginals, and its loss is an upper
    bound of Gromov-Wasserstein.

    Args:
        x: Sources.
        y: Targets, in another space.
        a: Their weights, equal of mass one if None.
        b: The same for the targets.
        slicer: Slices of the sources.
        slicer_y: Slices of the targets, of the same number; the slices of the sources if None.
        spaces: The distances within both clouds; squared Euclidean ones if None.

    Raises:
        ShapeError: Numbers of slices that differ.

    Example:
        >>> import torch
        >>> from monge.sliced import LinearSlicer
        >>> x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)); y = 3 - x  # a reflection
        >>> bool((best_gromov_plan(x, y, slicer=LinearSlicer(torch.eye(2))).assignment() == torch.arange(9)).all())
        True
    """
    other = slicer if slicer_y is None else slicer_y
    if slicer.count != other.count:
        raise ShapeError(f"slicer and slicer_y must have as many slices, but have {slicer.count} and {other.count}.")
    x, y, a, b = aligned(x, y, a, b, slices=slicer._batch, one_space=False)
    aligned(y, y, slices=other._batch)
    u, v = slicer._projected(Clouds(x, x)).x, other._projected(Clouds(y, y)).x
    left, right = within(x, y, spaces)
    batch = check_batches(points=u.shape[:-2], y=v.shape[:-2], x_space=left.batch_shape, y_space=right.batch_shape)
    u, v = (torch.cat([side, sign * side], -2).expand(*batch, -1, -1) for side, sign in ((u, 1), (v, -1)))
    plans = monotone_plan(u, v, *(None if w is None else w.to(u.dtype) for w in per_slice(a, b)))
    with torch.no_grad():
        best = _costs(plans, left, right).argmin(-1)
    return in_dtype(x.dtype, chosen(plans, best))


def _costs(plans: Coupling, left: Geometry, right: Geometry) -> Tensor:
    """The cost of every plan (*b, L), between spaces of batch *b."""
    if not (left.batch_shape or right.batch_shape):
        return gromov_cost(plans, left, right)
    columns = [gromov_cost(plans[..., k], left, right) for k in range(plans.batch_shape[-1])]
    return torch.stack(columns, -1)
