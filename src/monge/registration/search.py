"""The search for rigid motions: congruent bases propose them, what they are worth decides which of them go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .bases import Lengths, bases, congruent, laid
from .clouds import Cloud, Nearest, Some, images
from .fit import nearest_step
from .gain import distinct, gained, residual, worth
from .result import Steps
from .transformation import Rigid

__all__ = ["Views", "falling", "joined", "search", "search_steps"]


class Level(NamedTuple):
    """How exactly bases must fit, how likely a conflict is, and how many bases there are."""

    tolerance: float
    conflict: float
    bases: int


# The first level is exact and avoids conflicts; the second one finds what is noisy or sampled differently.
FLAT = (Level(0.012, 0.2, 50), Level(0.03, 1.0, 30))
SPACE = (Level(0.02, 0.4, 60), Level(0.032, 1.0, 25))
FIRST_STEPS, NEXT_STEPS = 5, 6
PROPOSED, TRIED, KEPT, LAST = 400, 3000, 500, 24  # motions of a base, and those of a level from phase to phase


class Views(NamedTuple):
    """Two clouds in common units, and what is asked about them."""

    x: Cloud
    y: Cloud
    scale: bool
    generator: torch.Generator | None
    told: Steps

    @property
    def near(self) -> tuple[Nearest, Nearest]:
        """Tables of both."""
        return self.x.near, self.y.near

    @property
    def spacing(self) -> float:
        """The larger distance between neighbours: what can be told apart."""
        return max(self.x.spacing, self.y.spacing)

    @property
    def reference(self) -> float:
        """The distance up to which pairs count."""
        return max(0.02, 1.5 * self.spacing)

    def some(self, count: int) -> tuple[Some, Some]:
        """A few points of both."""
        return self.x.some(count), self.y.some(count)

    def worth(self, motion: Rigid, count: int, sigma: float, conflict: float) -> Float[Tensor, " p"]:
        """What some points of both clouds say."""
        x, y = self.some(count)
        there = worth(residual(motion, x.points, self.y.near), x.structure, sigma, conflict)
        return there + worth(residual(motion.inverse(), y.points, self.x.near), y.structure, sigma, conflict)

    def approach(self, motion: Rigid, count: int, reaches: Iterable[float], least: float) -> Rigid:
        """Steps to the nearest points of some, while the reach falls, but not below ``least`` spacings."""
        x, y = self.some(count)
        for reach in reaches:
            reach = max(reach, least * self.spacing)
            motion = nearest_step(motion, x.points, y.points, self.near, reach, self.scale)
            self.told.tell()
        return motion


def joined(motions: Iterable[Rigid]) -> Rigid:
    """One batch."""
    parts = [motion._contents() for motion in motions]
    return Rigid._make(**{name: torch.cat([part[name] for part in parts]) for name in Rigid._names})


def falling(first: float, last: float, steps: int) -> list[float]:
    """From first to last by equal factors."""
    return [first * (last / first) ** (k / (steps - 1)) for k in range(steps)]


def levels(d: int) -> tuple[Level, ...]:
    """In the plane, and in space."""
    return FLAT if d < 3 else SPACE


def search_steps(d: int) -> int:
    """How many steps a search tells."""
    return len(levels(d)) * (1 + FIRST_STEPS + NEXT_STEPS)


def search(views: Views) -> Rigid:
    """The best motions, all clearly different."""
    found = []
    for level in levels(d := views.x.points.shape[-1]):
        if d > 2:
            level = level._replace(tolerance=max(level.tolerance, views.spacing / 2))
        motion = thinned(views, candidates(views, level), level)
        views.told.tell()
        found.append(refined(views, motion, level))
    motion = joined(found)
    value = gained(motion, *views.some(250), views.near, views.reference).value
    return motion._pick(distinct(motion, value, 0.08, LAST))


def candidates(views: Views, level: Level) -> Rigid:
    """For every base the best of the motions that lay it on congruent points; and no motion."""
    x, y = views.some(len(views.x.drawn))[0].points, views.some(len(views.y.drawn))[1].points
    lengths, d = Lengths.of(y), x.shape[-1]
    found = [Rigid._make(rotation=torch.eye(d)[None], translation=torch.zeros(1, d), scale=torch.ones(1))]
    for base in x[bases(x, views.x.weight, level.bases, views.generator)]:
        tuples = congruent(base, lengths, level.tolerance, views.scale, views.generator)
        motion = laid(base, y[tuples], views.scale)
        for few, count in ((12, 5 * PROPOSED), (40, PROPOSED)):
            if len(motion.scale) > count:
                some = views.x.some(few)
                r = residual(motion, some.points, views.y.near)
                value = worth(r, some.structure, 1.5 * level.tolerance, level.conflict)
                motion = motion._pick(value.topk(count).indices)
        found.append(motion)
    return joined(found)


def thinned(views: Views, motion: Rigid, level: Level) -> Rigid:
    """One motion of many that are nearly the same: the best in every cell first, then the best within a radius."""
    tolerance, d = level.tolerance, motion.translation.shape[-1]
    value = views.worth(motion, 60, 1.5 * tolerance, level.conflict)
    motion = motion._pick(value.argsort(descending=True, stable=True))
    corners = torch.cat([torch.zeros(1, d), torch.eye(d)]) / 2
    cell = (images(motion, corners).flatten(1) / max(2 * tolerance, 0.05)).round().long()
    mixed = torch.randint(2**62, (cell.shape[-1],), generator=torch.Generator().manual_seed(0))
    _, group = (cell * mixed).sum(-1).unique(return_inverse=True)
    first = torch.full_like(group, len(group)).scatter_reduce(0, group, torch.arange(len(group)), "amin")
    motion = motion._pick(first[first < len(group)].sort().values[:TRIED])
    value = views.worth(motion, 250, 1.5 * tolerance, level.conflict)
    return motion._pick(distinct(motion, value, min(1.5 * tolerance, 0.05), KEPT))


def refined(views: Views, motion: Rigid, level: Level) -> Rigid:
    """Closer by nearest points, of few points for all motions and of more for the better ones."""
    tolerance = level.tolerance
    motion = views.approach(motion, 120, falling(4 * tolerance, 2 * tolerance, FIRST_STEPS), 1.2)
    value = views.worth(motion, 250, 0.7 * tolerance, level.conflict)
    motion = motion._pick(distinct(motion, value, 0.05, 80))
    last = max(1.2 * tolerance, 0.6 * views.reference)
    return views.approach(motion, 250, falling(2.5 * tolerance, last, NEXT_STEPS), 1.2)
