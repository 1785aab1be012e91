"""Partial problems on a line, for `Sorted`: a mass to move, or a price of every unit that stays."""

from __future__ import annotations

import torch
from torch import Tensor

from monge import kernels
from monge.coupling import Coupling, MonotoneCoupling
from monge.geometry import Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed

__all__ = ["is_partial", "partial_plan"]


def is_partial(problem: Linear) -> bool:
    """Whether `partial_plan` knows it: |x - y|^p on a line, and a mass to move or one price on both sides."""
    if _places(problem) is None:
        return False
    sides = problem.source, problem.target
    if problem.mass is not None:
        return all(isinstance(side, AtMost) for side in sides)
    if not all(isinstance(side, Relaxed) and side.penalty == "tv" for side in sides):
        return False
    # At unequal prices it can pay to overfill the cheaper side, which is another problem.
    first, second = (_price(side, problem.a) for side in sides)
    return bool((first == second).all())


def partial_plan(exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
    """The plan of kept mass, matched in order, and its potentials."""
    batch, (n, m) = exact.batch_shape, exact.shape
    x, y, p = _places(exact)  # type: ignore[misc]
    if exact.mass is not None:
        rule, level = "mass", exact.mass.expand(batch)
    else:
        rule, level = "penalty", _price(exact.source, x).expand(batch)
    sides = x.expand(*batch, n), y.expand(*batch, m), exact.a.expand(*batch, n), exact.b.expand(*batch, m)
    found = kernels.partial_plan(*sides, rule=rule, level=level, p=p, potentials=True)
    used = int((found.w > 0).any(tuple(range(len(batch)))).sum())  # pieces come first
    i, j, w = (part[..., :used] for part in found[:3])
    return MonotoneCoupling._make(i=i, j=j, w=w, n=n, m=m), found.f, found.g


def _price(side: object, like: Tensor) -> Tensor:
    assert isinstance(side, Relaxed)
    return torch.as_tensor(side.rho, dtype=like.dtype, device=like.device)


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
