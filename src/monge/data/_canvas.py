"""Dashes and discs on grey pixels, smoothed by drawing finer than is shown."""

from __future__ import annotations

import math

import numpy as np

from ._snakes import Curves, Rules, square, squared_distance

__all__ = ["paint"]

FINER = 2
"""How many times finer along both sides."""

INK = 2.0
"""How bright a pixel that is covered by a dash of contrast one would be, if 1 were not the brightest."""


def paint(curves: Curves, discs: np.ndarray, rules: Rules) -> np.ndarray:
    """Pictures (b, size, size) of curves and of the discs (b, k, 2), as bytes.

    A pixel is as bright as the brightest thing on it, and a thing as the part of the pixel that it covers.
    """
    count = len(discs)
    reach = math.ceil(rules.length + rules.thickness + 2 * rules.radius)
    wide = rules.size + 2 * reach
    picture = np.zeros((count, wide * wide), dtype=np.float32)
    for dash in range(curves.start.shape[1]):
        rows = np.flatnonzero(curves.snake[:, dash] >= 0)
        start, end = curves.start[rows, dash], curves.end[rows, dash]
        along = (end - start) / rules.length
        half = (rules.length + rules.thickness) / 2
        touched, covered = _covered((start + end) / 2, start, along, rules.length, rules.thickness / 2, half)
        _lighten(picture, rows, touched + reach, covered * rules.contrast * INK, wide)
    rows = np.arange(count)
    for disc in range(discs.shape[1]):
        centre = discs[:, disc]
        touched, covered = _covered(centre, centre, np.zeros_like(centre), 0.0, rules.radius, rules.radius)
        _lighten(picture, rows, touched + reach, covered, wide)
    inside = slice(reach, reach + rules.size)
    shown = picture.reshape(count, wide, wide)[:, inside, inside]
    return np.rint(255 * shown.clip(max=1)).astype(np.uint8)


def _covered(
    middle: np.ndarray, start: np.ndarray, along: np.ndarray, length: float, thick: float, half: float
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels about ``middle`` and which part of each lies within ``thick`` of a dash."""
    reach = math.ceil(half)
    window = square(np.arange(-reach, reach + 1, dtype=np.float32))
    within = square((np.arange(FINER, dtype=np.float32) + 0.5) / FINER - 0.5)
    pixels = np.rint(middle)[:, None] + window
    points = (pixels[:, :, None] + within).reshape(len(middle), len(window) * FINER**2, 2)
    covered = squared_distance(points, start, along, length) <= thick**2
    return pixels.astype(np.int32), covered.reshape(*pixels.shape[:2], FINER**2).mean(axis=-1, dtype=np.float32)


def _lighten(picture: np.ndarray, rows: np.ndarray, pixels: np.ndarray, light: np.ndarray, wide: int) -> None:
    flat = pixels[..., 0] * wide + pixels[..., 1]
    picture[rows[:, None], flat] = np.maximum(picture[rows[:, None], flat], light)
