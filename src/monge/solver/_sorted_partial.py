"""Partial problems on a line, for `Sorted`: a mass to move, or a price of every unit that stays."""

from __future__ import annotations

import torch
from torch import Tensor

from monge import kernels
from monge.coupling import Coupling, MonotoneCoupling
from monge.geometry import Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed


def is_partial(problem: Linear) -> bool:
    """Whether `partial_plan` knows it: |x - y|^p on a line, and a mass to move or one price on both sides."""
    if _places(problem) is None:
        return False
    sides = problem.source, problem.target
    if problem.mass is not None:
        return all(isinstance(side, AtMost) for side in sides)
    if not all(isinstance(side, Relaxed) and side._rates is not None for side in sides):
        return False
    # At unequal prices it can pay to overfill the cheaper side, which is another problem.
    first, *others = (price for side in sides for price in _prices(side, problem.a))
    return all(bool((first == other).all()) for other in others)


def partial_plan(exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
    """The plan of kept mass, matched in order, and its potentials."""
    batch, (n, m) = exact.batch_shape, exact.shape
    x, y, p = _places(exact)  # type: ignore[misc]
    if exact.mass is not None:
        rule, level = "mass", exact.mass.expand(batch)
    else:
        rule, level = "penalty", _prices(exact.source, x)[0].expand(batch)
    sides = x.expand(*batch, n), y.expand(*batch, m), exact.a.expand(*batch, n), exact.b.expand(*batch, m)
    found = kernels.partial_plan(*sides, rule=rule, level=level, p=p, potentials=True)
    used = int((found.w > 0).any(tuple(range(len(batch)))).sum())  # pieces come first
    i, j, w = (part[..., :used] for part in found[:3])
    return MonotoneCoupling._make(i=i, j=j, w=w, n=n, m=m), found.f, found.g


def _prices(side: object, like: Tensor) -> list[Tensor]:
    """What a unit too little and a unit too much cost."""
    assert isinstance(side, Relaxed)
    assert side._rates is not None
    return [torch.as_tensor(rate, dtype=like.dtype, device=like.device) for rate in side._rates]


def _places(problem: Linear) -> tuple[Tensor, Tensor, float] | None:
    geometry = problem.geometry
    if isinstance(geometry, Line):
        return geometry.x, geometry.y, float(geometry.p)
    if not isinstance(geometry, PointCloud) or geometry.x.shape[-1] != 1 or callable(geometry.cost):
        return None
    if geometry.cost in ("cosine", "dot"):
        return None
    power = geometry._points().power
    return (geometry.x[..., 0], geometry.y[..., 0], float(power)) if power >= 1 else None
