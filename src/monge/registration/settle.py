"""The last steps of a rigid registration: partial plans for the best motions, and what they offer on all points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .clouds import Cloud, Exact, Some
from .fit import nearest_step, plan_step
from .gain import Gain, distinct, gained, positions, residual
from .search import Views, falling, joined
from .transformation import Rigid

__all__ = ["Settled", "polished", "settled", "settled_steps"]

PLAN_STEPS, NEAREST_STEPS, POLISH = 4, 5, (2.0, 1.4, 1.0, 1.0, 1.0)
MOST, PLANNED = 4000, 1000  # points that a gain looks at, and points of a plan
SHARPER = 12  # steps with ever closer pairs
AWAY = 0.12  # motions that bring the object farther apart than this are others


def settled_steps() -> int:
    """How many steps are told."""
    return PLAN_STEPS + NEAREST_STEPS + 2 * len(POLISH)


def settled(views: Views, motion: Rigid) -> Rigid:
    """Soft plans find what nearest points miss where noise is large; then nearest points again."""
    x, y = (some.points.double() for some in views.some(200))
    motion = motion.to(torch.float64)
    for q in falling(1.2, 0.6, PLAN_STEPS):
        motion = plan_step(motion, x, y, (q * max(views.reference, 0.025)) ** 2, views.scale)
        views.told.tell()
    last = views.approach(
        motion.to(torch.float32), 400, falling(2 * views.reference, 0.6 * views.reference, NEAREST_STEPS), 1.5
    )
    return last.to(torch.float64)


class Settled(NamedTuple):
    """The best motion, the best of those that are others, and how much the first one offers more."""

    motion: Rigid
    rival: Rigid
    margin: float


class _All(NamedTuple):
    """Both clouds, or many points of them, with exact distances."""

    x: Some
    y: Some
    near: tuple[Exact, Exact]
    reference: float

    def gain(self, motion: Rigid) -> Gain:
        return gained(motion, self.x, self.y, self.near, self.reference)

    def residual(self, motion: Rigid) -> Tensor:
        there = residual(motion, self.x.points, self.near[1])
        return torch.cat([there, residual(motion.inverse(), self.y.points, self.near[0])], -1)

    def sharpened(self, motion: Rigid, reach: float, scale: bool) -> Rigid:
        """Closer pairs alone, as long as these are nearly all pairs: copies without noise come to lie exactly."""
        least = 0.8 * (self.residual(motion) < reach).sum()
        for _ in range(SHARPER):
            reach *= 0.4
            closer = nearest_step(motion, self.x.points, self.y.points, self.near, reach, scale)
            if (self.residual(closer) < reach).sum() < least:
                break
            motion = closer
        return motion


def polished(views: Views, motion: Rigid) -> Settled:
    """The best motions and their best rival, on more points and with distances that are as small as the noise."""
    x, y = _part(views.x, MOST, views.generator), _part(views.y, MOST, views.generator)
    exact = _All(x, y, (views.x.exact, views.y.exact), views.reference)
    first = exact.gain(motion).value
    chosen = motion._pick(torch.cat([distinct(motion, first, 0.02, 2), _others(motion, first)[:1]]).unique())
    sigma = float(exact.gain(chosen).sigma.min())
    soft = chosen
    for q in POLISH:
        soft = plan_step(
            soft, x.points[:PLANNED], y.points[:PLANNED], (q * max(sigma, views.spacing / 2)) ** 2, views.scale
        )
        views.told.tell()
    hard = soft
    for q in POLISH:
        hard = nearest_step(hard, x.points, y.points, exact.near, 3 * q * sigma, views.scale)
        views.told.tell()
    value = torch.cat([first, exact.gain(joined([soft, hard])).value])
    motion = joined([motion, soft, hard])
    best, others = value.argmax()[None], _others(motion, value)[:1]
    margin = float(value[best] - value[others]) if len(others) else float("inf")
    rival = others if len(others) else best
    return Settled(exact.sharpened(motion._pick(best), 3 * sigma, views.scale), motion._pick(rival), margin)


def _others(motion: Rigid, value: Tensor) -> Tensor:
    """Which motions are far from the best one, the best of them first."""
    order, place = value.argsort(descending=True, stable=True), positions(motion)
    return order[(place[order] - place[order[0]]).norm(dim=-1) > AWAY]


def _part(cloud: Cloud, most: int, generator: torch.Generator | None) -> Some:
    """All points in any order, or some."""
    few = torch.randperm(len(cloud.points), generator=generator)[:most]
    return Some(cloud.points[few], cloud.structure[few])
