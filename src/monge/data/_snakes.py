"""Dashed curves that keep clear of each other, for many pictures at once.

A snake is a chain of dashes. The pictures of a batch grow in step, dash by dash, so that NumPy does the work; those
where one of the two long snakes finds no way on are given up, which is rejection sampling of whole pictures. Dashes
pivot about pixels and point to pixels, so that a dash is one of few stamps, made once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

RETRIES = 4
# Marks on the map of a picture: free, a dash by its number (from one), near a dash, outside of the picture.
FREE, NEAR, OUTSIDE = 0, 254, 255


@dataclass(frozen=True)
class Rules:
    """What a picture looks like. Lengths are in pixels; the centres of pixels have integer coordinates.

    Args:
        size: height and width.
        length: length of a dash.
        thickness: thickness of a dash.
        margins: half of the gap between dashes; one of these a picture.
        seed_distance: from the origin of one long snake to that of the other.
        continuity: how straight a snake is; no turn reaches 90 degrees divided by this.
        short: the most dashes of all short snakes together.
        radius: of the discs that mark two tips.
        contrast: how bright a dash is.
        contour: dashes of each of the two long snakes; short ones have a third.
        singles: single dashes that are strewn in besides.
        padding: what stays free at the border.
    """

    size: int
    length: float
    thickness: float
    margins: tuple[int, ...]
    seed_distance: int
    continuity: float
    short: int
    radius: float
    contrast: float
    contour: int = 3
    singles: int = 0
    padding: int = 1

    @property
    def distractors(self) -> tuple[int, ...]:
        """Dashes of each of the other snakes."""
        third = self.contour // 3
        return (third,) * (self.short // third) + (1,) * self.singles

    @property
    def dashes(self) -> int:
        """How many dashes a picture may have."""
        return 2 * self.contour + sum(self.distractors)


@dataclass(frozen=True)
class Curves:
    """The dashes of pictures: those of the two long snakes in turn, then the others.

    Args:
        start: where each dash begins, (row, column).
        end: where it ends.
        snake: which snake it belongs to, 0 and 1 the long ones; -1 where there is no dash.
    """

    start: np.ndarray
    end: np.ndarray
    snake: np.ndarray


def draw_curves(count: int, rng: np.random.Generator, rules: Rules) -> Curves:
    """Try ``count`` pictures with each margin; those come back where both long snakes were grown to their end."""
    grown = []
    for margin in rules.margins:
        field = _Field(count, rng, rules, margin)
        field.choose(field.grow_pair())
        dash = 2 * rules.contour
        for snake, dashes in enumerate(rules.distractors, start=2):
            field.grow_distractor(snake, range(dash, dash + dashes))
            dash += dashes
        grown.append(vars(field.curves()))
    held = {name: np.concatenate([curves[name] for curves in grown]) for name in grown[0]}
    mixed = rng.permutation(len(held["snake"]))
    return Curves(**{name: column[mixed] for name, column in held.items()})


def squared_distance(pixels: np.ndarray, start: np.ndarray, along: np.ndarray, length: float) -> np.ndarray:
    """From pixels (b, k, 2) to the dash of each row, which begins at ``start`` and runs ``along`` a unit vector."""
    away = pixels - start[:, None]
    beside = away[..., 0] * along[:, None, 0] + away[..., 1] * along[:, None, 1]
    foot = beside.clip(0, length)
    return away[..., 0] ** 2 + away[..., 1] ** 2 + foot * (foot - 2 * beside)


def square(side: np.ndarray) -> np.ndarray:
    """The points (k², 2) whose coordinates are both among the k of a side."""
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)


class _Stamps:
    """What a dash may be at one margin: which way it points, which pixels it takes, what may follow on it.

    Args:
        rules: of the pictures.
        margin: half of the gap between dashes.
        wide: pixels in a row of the map.
    """

    def __init__(self, rules: Rules, margin: int, wide: int) -> None:
        circle = _on_circle(rules.length + margin, np.radians(np.arange(360.0)))
        # The pixel that a dash points to, seen from its pivot, and which of them lies in a direction of whole degrees.
        aims, of_degree = np.unique(circle, axis=0, return_inverse=True)
        self.of_degree = of_degree.reshape(-1)
        self.along = aims / np.hypot(*aims.T)[:, None]
        self.margin = margin
        self.aim = _flat(aims, wide)
        self.step = _flat(np.rint((rules.length + 2 * margin) * self.along), wide)
        turn = np.arccos((self.along @ self.along.T).clip(-1, 1)) * rules.continuity
        self.chance = np.where(turn < math.pi / 2 - 1e-9, np.cos(turn) ** 2, 0)

        reach = math.ceil(rules.length + rules.thickness + 2 * margin + 1)
        window = square(np.arange(-reach, reach + 1))
        squared = squared_distance(window[None], margin * self.along, self.along, rules.length)
        # A pixel is inked if the dash touches it, taken if it would touch it at the margin's thickness more.
        ink = rules.thickness / 2 + 0.5
        near = (squared <= (ink + margin) ** 2).sum(axis=1)
        nearest = np.argsort(squared, axis=1, kind="stable")[:, : near.max()]
        squared = np.take_along_axis(squared, nearest, axis=1)
        # Short stamps are filled up with their first pixel.
        nearest = np.where(np.arange(near.max()) < near[:, None], nearest, nearest[:, :1])
        self.pixels = _flat(window, wide)[nearest]
        self.inked = (squared <= ink**2) | (nearest == nearest[:, :1])


class _Field:
    """The pictures of a batch while they grow.

    What grows is told by ``rows``, the pictures, and ``dash``, the place of the dash among those of a picture; each
    step answers with the rows where it went well. Pixels are places in the map of a picture.
    """

    def __init__(self, count: int, rng: np.random.Generator, rules: Rules, margin: int) -> None:
        self.rng, self.rules = rng, rules
        # A frame about the picture, so that no stamp has to be cut at the border.
        self.frame = math.ceil(rules.length + rules.thickness + 3 * margin + 2)
        self.wide = rules.size + 2 * self.frame
        self.stamps = _Stamps(rules, margin, self.wide)
        self.pivot = np.zeros((count, rules.dashes), dtype=np.int64)
        self.way = np.zeros((count, rules.dashes), dtype=np.int64)
        self.snake = np.full((count, rules.dashes), -1, dtype=np.int8)
        blank = np.full((self.wide, self.wide), OUTSIDE, dtype=np.uint8)
        inside = slice(self.frame + rules.padding, self.frame + rules.size - rules.padding)
        blank[inside, inside] = FREE
        self.map = np.tile(blank.reshape(-1), (count, 1))

    def grow_pair(self) -> np.ndarray:
        """The two long snakes, a dash of the one and a dash of the other in turn."""
        rules, rng = self.rules, self.rng
        rows = np.arange(len(self.map))
        border = 2 * rules.seed_distance
        first = rng.integers(border, rules.size - border, size=(rows.size, 2))
        aside = _on_circle(rules.seed_distance, rng.random(rows.size) * (2 * math.pi))
        rows = self.begin(rows, self.place(first), dash=0, snake=0)
        rows = self.begin(rows, self.place(first + aside)[rows], dash=1, snake=1)
        for dash in range(2, 2 * rules.contour):
            rows = self.extend(rows, dash, last=dash - 2, snake=dash % 2)
        return rows

    def grow_distractor(self, snake: int, dashes: range) -> None:
        """One more snake, where it finds room within a few tries."""
        missing = np.arange(len(self.map))
        for _ in range(RETRIES):
            before = self.map[missing]
            free = (before == FREE).cumsum(axis=1, dtype=np.int32)
            some = free[:, -1] > 0
            chosen = (free <= (self.rng.random(len(missing)) * free[:, -1])[:, None]).sum(axis=1)
            rows = self.begin(missing[some], chosen[some], dashes[0], snake)
            for dash in dashes[1:]:
                rows = self.extend(rows, dash, dash - 1, snake)
            failed = ~np.isin(missing, rows)
            missing = missing[failed]
            self.map[missing] = before[failed]
            self.snake[missing, dashes[0] : dashes[-1] + 1] = -1

    def begin(self, rows: np.ndarray, pivot: np.ndarray, dash: int, snake: int) -> np.ndarray:
        """The first dash of a snake, in a direction of whole degrees."""
        way = self.stamps.of_degree[self.rng.integers(360, size=rows.size)]
        return rows[self.stamp(rows, pivot, way, dash, last=-1, snake=snake)]

    def extend(self, rows: np.ndarray, dash: int, last: int, snake: int) -> np.ndarray:
        """The dash that follows on the dash ``last``: straight on rather than aside, and to a pixel that is free."""
        before = self.way[rows, last]
        pivot = self.pivot[rows, last] + self.stamps.step[before]
        free = self.map[rows[:, None], pivot[:, None] + self.stamps.aim] == FREE
        below = np.where(free, self.stamps.chance[before], 0).cumsum(axis=1)
        placed = np.zeros(rows.size, dtype=bool)
        waiting = np.flatnonzero(below[:, -1] > 0)
        for _ in range(RETRIES):
            level = self.rng.random(waiting.size) * below[waiting, -1]
            way = (below[waiting] <= level[:, None]).sum(axis=1)
            placed[waiting] = self.stamp(rows[waiting], pivot[waiting], way, dash, last, snake)
            waiting = waiting[~placed[waiting]]
        return rows[placed]

    def stamp(
        self, rows: np.ndarray, pivot: np.ndarray, way: np.ndarray, dash: int, last: int, snake: int
    ) -> np.ndarray:
        """Put a dash where it keeps its margin to all others but the ``last`` one; tells where it could be put."""
        pixels = pivot[:, None] + self.stamps.pixels[way]
        inked = self.stamps.inked[way]
        there = self.map[rows[:, None], pixels]
        # Dashes are numbered from one.
        others = (there > FREE) & (there < NEAR) & (there != last + 1)
        fits = ~(others | (inked & (there == OUTSIDE))).any(axis=1)
        rows, there, inked = rows[fits], there[fits], inked[fits]
        fresh = np.where(inked, dash + 1, np.where(there == FREE, NEAR, there))
        self.map[rows[:, None], pixels[fits]] = fresh
        self.pivot[rows, dash], self.way[rows, dash], self.snake[rows, dash] = pivot[fits], way[fits], snake
        return fits

    def place(self, pixels: np.ndarray) -> np.ndarray:
        """Where pixels (..., 2) of the picture stand in its map."""
        return _flat(pixels + self.frame, self.wide)

    def choose(self, rows: np.ndarray) -> None:
        """Go on with these pictures only."""
        for name in ("pivot", "way", "snake", "map"):
            setattr(self, name, getattr(self, name)[rows])

    def curves(self) -> Curves:
        """What has been grown."""
        pivot = np.stack(np.divmod(self.pivot, self.wide), axis=-1) - self.frame
        along = self.stamps.along[self.way]
        start = pivot + self.stamps.margin * along
        return Curves(start, start + self.rules.length * along, self.snake)


def _on_circle(radius: float, angle: np.ndarray) -> np.ndarray:
    """The pixels that are nearest to points of a circle."""
    return np.rint(radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1))


def _flat(pixels: np.ndarray, wide: int) -> np.ndarray:
    row, column = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return row * wide + column
