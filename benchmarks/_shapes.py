"""Asymmetric shapes in the plane and in space, and pairs of views of them that a registration has to join."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

__all__ = ["CELLS", "Case", "case", "random_rotation"]

SIZES = (200, 400, 800, 1500, 2000)
CELLS = (
    "turns 90, 170, random",
    "noise 1",
    "noise 3",
    "density",
    "scale",
    "outliers 30",
    "outliers 50",
    "overlap 80",
    "overlap 60",
    "overlap 40",
    "resampled 80",
    "resampled 60",
    "resampled 40",
)


@dataclass(frozen=True)
class Case:
    """Two clouds, the motion between them, and what the baseline is told."""

    source: np.ndarray
    target: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    scale: float
    diameter: float
    inlier: float  # the true share of points with a partner
    scaled: bool  # whether the scale has to be found


# ---------------------------------------------------------------- shapes: points from parameters that are drawn once


def _along(knots: list[tuple[np.ndarray, np.ndarray]], n: int, g: Generator, width: float) -> np.ndarray:
    """Points on segments, by length, and within a stroke of some width."""
    ends = np.array([[a, b] for a, b in knots])
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    k = g.choice(len(ends), n, p=length / length.sum())
    t = g.random((n, 1))
    way = (ends[k, 1] - ends[k, 0]) / length[k, None]
    across = np.stack([-way[:, 1], way[:, 0]], 1) * (g.random((n, 1)) - 0.5) * width
    return ends[k, 0] * (1 - t) + ends[k, 1] * t + across


def _chain(corners: list[tuple[float, float]]) -> list[tuple[np.ndarray, np.ndarray]]:
    points = [np.array(c, dtype=float) for c in corners]
    return list(itertools.pairwise(points))


def letter(g: Generator):
    """A stem, two bars, a hook, and half of them a foot."""
    u = g.uniform
    h = 1.6 + u(0, 1)
    segments = _chain([(0, 0), (0, h)])
    upper = (u(0.4, 1.1), h + u(-0.2, 0.2))
    segments += _chain([(0, h), upper])
    low = h * u(0.35, 0.65)
    segments += _chain([(0, low), (u(0.4, 1.1), low + u(-0.2, 0.2))])
    segments += _chain([upper, (upper[0] + u(-0.1, 0.2), upper[1] - u(0.25, 0.6))])
    if g.random() < 0.5:
        segments += _chain([(0, 0), (-u(0.2, 0.5), u(-0.1, 0.3))])
    return lambda n, g: _along(segments, n, g, 0.08)


def flat_bracket(g: Generator):
    """An outline with a step, and a hole."""
    u = g.uniform
    a, b, c, e = u(1.4, 2.2), u(0.8, 1.3), u(0.25, 0.45), u(0.3, 0.6)
    outline = [(0, 0), (a, 0), (a, c), (e + u(0, 0.2), c), (e, b), (0, b * u(0.8, 1)), (0, 0)]
    radius, centre = u(0.08, 0.13), (a * u(0.6, 0.85), c / 2)
    turn = 2 * math.pi * np.arange(17) / 16
    hole = [(centre[0] + radius * math.cos(t), centre[1] + radius * math.sin(t)) for t in turn]
    segments = _chain(outline) + _chain(hole)
    return lambda n, g: _along(segments, n, g, 0.0)


def flat_blob(g: Generator):
    """A closed curve of four waves, stretched."""
    amplitude = g.normal(size=4) * (0.22, 0.16, 0.12, 0.08)
    phase, stretch = g.uniform(0, 2 * math.pi, 4), g.uniform(1.2, 1.7)
    t = np.linspace(0, 2 * math.pi, 1001)
    r = 1 + (amplitude[:, None] * np.cos(np.arange(2, 6)[:, None] * t + phase[:, None])).sum(0)
    curve = np.stack([stretch * r * np.cos(t), r * np.sin(t)], 1)
    segments = list(itertools.pairwise(curve))
    return lambda n, g: _along(segments, n, g, 0.0)


def walk(g: Generator):
    """Seven segments."""
    heading, place, segments = 0.0, np.zeros(2), []
    for _ in range(7):
        heading += g.uniform(-1.6, 1.6)
        new = place + g.uniform(0.3, 1) * np.array([math.cos(heading), math.sin(heading)])
        segments.append((place, new))
        place = new
    return lambda n, g: _along(segments, n, g, 0.0)


def _faces(boxes: list[tuple[np.ndarray, np.ndarray]], n: int, g: Generator) -> np.ndarray:
    """Points on the outer faces of a union of boxes, by area."""
    faces, area = [], []
    for low, high in boxes:
        for axis in range(3):
            others = [k for k in range(3) if k != axis]
            for side in (low[axis], high[axis]):
                faces.append((low, high, axis, side))
                area.append(np.prod((high - low)[others]))
    chances, found, count = np.array(area) / np.sum(area), [], 0
    while count < n:
        for k in g.choice(len(faces), n, p=chances):
            low, high, axis, side = faces[k]
            point = g.uniform(low, high)
            point[axis] = side
            if not any(((point > a + 1e-9) & (point < b - 1e-9)).all() for a, b in boxes):
                found.append(point)
                count += 1
                if count == n:
                    break
    return np.array(found)


def _box(*sides: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([low for low, _ in sides]), np.array([high for _, high in sides])


def cad(g: Generator):
    """A plate with a tower on a corner, a block at the far end, and an arm from the tower's top."""
    u = g.uniform
    a, b = u(2.4, 3.2), u(1, 1.5)
    wide, deep, top = u(0.3, 0.6), b * u(0.6, 1), u(1.4, 2.4)
    long, across, high, out = u(0.5, 1), u(0.3, 0.5), u(0.8, 1.4), u(0.5, 1.2)
    boxes = [
        _box((0, a), (0, b), (0, 0.4)),
        _box((0, wide), (0, deep), (0, top)),
        _box((a - long, a), (b - across, b), (0, high)),
        _box((0, wide + out), (0, 0.4), (top - 0.5, top)),
    ]
    return lambda n, g: _faces(boxes, n, g)


def bracket(g: Generator):
    """Two walls and a round boss."""
    u = g.uniform
    a, b = u(1.8, 2.6), u(1, 1.5)
    boxes = [_box((0, a), (0, b), (0, 0.25)), _box((0, 0.25), (0, b * u(0.5, 0.8)), (0, u(1.2, 1.9)))]
    radius, high, centre = u(0.2, 0.35), u(0.4, 0.8), (a * u(0.6, 0.8), b * u(0.25, 0.4))

    def points(n: int, g: Generator) -> np.ndarray:
        round_ = round(0.22 * n)
        turn, lid = g.uniform(0, 2 * math.pi, round_), g.random(round_) < radius / (radius + 2 * high)
        r = np.where(lid, radius * np.sqrt(g.random(round_)), radius)
        z = np.where(lid, 0.25 + high, 0.25 + high * g.random(round_))
        boss = np.stack([centre[0] + r * np.cos(turn), centre[1] + r * np.sin(turn), z], 1)
        return np.concatenate([_faces(boxes, n - round_, g), boss])

    return points


def blob(g: Generator):
    """A star of bumps and dents, stretched."""
    way = g.normal(size=(6, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    height = 0.33 * np.abs(g.normal(size=6)) * (1.6, 1.6, 1.6, 1.6, -1, -1)
    stretch = np.array([g.uniform(1.4, 1.8), g.uniform(1, 1.2), g.uniform(0.6, 0.9)])

    def points(n: int, g: Generator) -> np.ndarray:
        u = g.normal(size=(n, 3))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        square = ((u[:, None] - way) ** 2).sum(-1)
        return u * (1 + (height * np.exp(-6 * square)).sum(1))[:, None] * stretch

    return points


def relief(g: Generator):
    """A rectangle with seven bumps."""
    centre = g.uniform((0, 0), (2, 1.4), (7, 2))
    height, width = g.uniform(0.25, 0.7, 7) * g.choice([-1, 1], 7), g.uniform(0.15, 0.4, 7)

    def points(n: int, g: Generator) -> np.ndarray:
        flat = g.uniform((0, 0), (2, 1.4), (n, 2))
        square = ((flat[:, None] - centre) ** 2).sum(-1)
        return np.concatenate([flat, (height * np.exp(-square / (2 * width**2))).sum(1, keepdims=True)], 1)

    return points


FAMILIES = {2: (letter, flat_bracket, flat_blob, walk), 3: (cad, bracket, blob, relief)}


# ---------------------------------------------------------------- views


def random_rotation(d: int, g: Generator, angle: float | None = None) -> np.ndarray:
    """A random rotation; about a random axis, if its angle is given."""
    if d == 2:
        t = g.uniform(-math.pi, math.pi) if angle is None else math.radians(angle)
        return np.array([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]])
    if angle is None:
        q, r = np.linalg.qr(g.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        q[:, 0] *= np.linalg.det(q)
        return q
    x, y, z = (axis := g.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    t = math.radians(angle)
    return np.eye(3) + math.sin(t) * cross + (1 - math.cos(t)) * cross @ cross


def case(cell: str, d: int, k: int, salt: int = 0) -> Case:
    """The k-th shape in one of the `CELLS`; another salt gives other shapes of the same kinds."""
    shape = FAMILIES[d][k % 4](np.random.default_rng((d, k, salt) if salt else (d, k)))
    g = np.random.default_rng((d, k, CELLS.index(cell) + 1, salt))
    n, (kind, _, level) = SIZES[(k // 4 + k) % 5], cell.partition(" ")
    diameter = float(np.linalg.norm(np.ptp(shape(4000, np.random.default_rng(0)), axis=0)))
    rotation = random_rotation(d, g, (90, 170, None)[k % 3] if kind == "turns" else None)
    translation = g.uniform(-2, 2, d) * diameter
    scale = math.exp(g.uniform(-math.log(2), math.log(2))) if kind == "scale" else 1.0
    noise = {"turns": 0.002, "noise": float(level or 0) / 100 if kind == "noise" else 0}.get(kind, 0.005) * diameter
    source, target, inlier = _views(kind, level, n, shape, g)
    source = source + noise * g.normal(size=source.shape)
    target = target + noise * g.normal(size=target.shape)
    if kind == "outliers":
        source, target = (_cluttered(points, 1 - inlier, g) for points in (source, target))
    source, target = g.permutation(source), g.permutation(target)
    return Case(
        source, scale * target @ rotation.T + translation, rotation, translation, scale, diameter, inlier,
        kind == "scale",
    )  # fmt: skip


def _views(kind: str, level: str, n: int, shape, g: Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Clean points of the source and of the target, in one frame, and the share that they have in common."""
    if kind == "density":
        source, many = shape(n, g), shape(20 * n, g)
        way = g.normal(size=source.shape[1])
        along = many @ way / np.linalg.norm(way)
        along = (along - along.min()) / np.ptp(along)
        count = max(120, n // 2)
        kept = g.choice(len(many), count, replace=False, p=(1 + 4 * along) / (1 + 4 * along).sum())
        return source, many[kept], 1.0
    if kind not in ("overlap", "resampled"):
        source = shape(n, g)
        return source, source, 1 - float(level) / 100 if kind == "outliers" else 1.0
    q = float(level) / 100
    f = 1 / (2 - q)
    total = round(n / f)
    way = g.normal(size=shape(1, g).shape[1])
    first = shape(total, g)
    second = shape(total, g) if kind == "resampled" else first
    source = first[np.argsort(first @ way)][: round(f * total)]
    target = second[np.argsort(second @ way)][total - round(f * total) :]
    return source, target, q


def _cluttered(points: np.ndarray, share: float, g: Generator) -> np.ndarray:
    """With outliers, uniform in the bounding box enlarged, as this share of all points."""
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, 0.6 * (high - low)
    count = round(len(points) * share / (1 - share))
    return np.concatenate([points, g.uniform(middle - half, middle + half, (count, points.shape[1]))])
