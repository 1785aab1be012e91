"""Dashes and discs on grey pixels, smoothed by drawing finer than is shown."""

from __future__ import annotations

import math

import numpy as np

from ._snakes import Curves, Rules, square, squared_distance

FINER = 2
"""How many times finer along both sides."""

INK = 2.0
"""How bright a pixel that is covered by a dash of contrast one would be, if 1 were not the brightest."""


def paint(curves: Curves, discs: np.ndarray, rules: Rules) -> np.ndarray:
    """Pictures (b, size, size) of curves and of the discs (b, k, 2), as bytes.

    A pixel is as bright as the brightest thing on it, and a thing as the part of the pixel that it covers.
    """
    reach = math.ceil(rules.length + rules.thickness + 2 * rules.radius)
    wide = rules.size + 2 * reach
    picture = np.zeros((len(discs), wide * wide), dtype=np.float32)

    def draw(rows: np.ndarray, start: np.ndarray, end: np.ndarray, length: float, thick: float, light: float) -> None:
        touched, covered = _covered(start, end, length, thick)
        flat = (touched[..., 0] + reach) * wide + touched[..., 1] + reach
        picture[rows[:, None], flat] = np.maximum(picture[rows[:, None], flat], covered * light)

    for dash in range(curves.start.shape[1]):
        rows = np.flatnonzero(curves.snake[:, dash] >= 0)
        start, end = curves.start[rows, dash], curves.end[rows, dash]
        draw(rows, start, end, rules.length, rules.thickness / 2, rules.contrast * INK)
    for centre in np.moveaxis(discs, 1, 0):
        draw(np.arange(len(discs)), centre, centre, 0.0, rules.radius, 1.0)
    inside = slice(reach, reach + rules.size)
    shown = picture.reshape(-1, wide, wide)[:, inside, inside]
    return np.rint(255 * shown.clip(max=1)).astype(np.uint8)


def _covered(start: np.ndarray, end: np.ndarray, length: float, thick: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixels about a dash, a disc if it has no length, and which part of each lies within ``thick`` of it."""
    reach = math.ceil(length / 2 + thick)
    window = square(np.arange(-reach, reach + 1, dtype=np.float32))
    within = square((np.arange(FINER, dtype=np.float32) + 0.5) / FINER - 0.5)
    pixels = np.rint((start + end) / 2)[:, None] + window
    points = (pixels[:, :, None] + within).reshape(len(start), len(window) * FINER**2, 2)
    covered = squared_distance(points, start, (end - start) / (length or 1), length) <= thick**2
    return pixels.astype(np.int32), covered.reshape(*pixels.shape[:2], FINER**2).mean(axis=-1, dtype=np.float32)
