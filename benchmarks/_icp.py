"""The baseline of registration: trimmed iterations of closest points from many random starts."""

from __future__ import annotations

import time

import numpy as np
from numpy.random import Generator
from scipy.spatial import KDTree

from ._shapes import Case, random_rotation

__all__ = ["Motion", "trimmed_icp"]

Motion = tuple[np.ndarray, np.ndarray, float]  # rotation, translation, scale
STEPS, MOST = 40, 300  # steps from a start, and points that they look at


def trimmed_icp(case: Case, seconds: float, g: Generator) -> tuple[Motion, int]:
    """The motion of the least trimmed mean square, and how many starts the time allowed; the true share is told."""
    tree, d = KDTree(case.target), case.source.shape[1]
    x = g.permutation(case.source)
    few = x[:MOST]
    factor = _spread(case.target) / _spread(x) if case.scaled else 1.0
    best, least, starts, end = None, np.inf, 0, time.process_time() + seconds
    while best is None or time.process_time() < end:
        rotation = random_rotation(d, g)
        # Middle on middle, roughly, or with little overlap a random point on a random point.
        near = np.median(few, 0) + 0.3 * _spread(x) * g.normal(size=d), np.median(case.target, 0)
        one, other = near if starts % 2 else (few[g.integers(len(few))], case.target[g.integers(len(case.target))])
        start = (rotation, other - factor * rotation @ one, factor)
        motion, error = _closest(start, few, tree, case)
        starts += 1
        if error < least:
            best, least = motion, error
    return _closest(best, x, tree, case)[0], starts


def _closest(motion: Motion, x: np.ndarray, tree: KDTree, case: Case) -> tuple[Motion, float]:
    """Nearest neighbours and the best motion for the closer ones, by turns, until they stay."""
    before, count = np.inf, max(x.shape[1] + 1, round(case.inlier * len(x)))
    for _ in range(STEPS):
        rotation, shift, factor = motion
        distance, partner = tree.query(factor * x @ rotation.T + shift)
        near = np.argpartition(distance, count - 1)[:count]
        # Neither shrinking nor growing is cheaper.
        error = float((distance[near] ** 2).mean()) / factor
        if error > before * (1 - 1e-3):
            break
        before, motion = error, _fit(x[near], tree.data[np.asarray(partner)[near]], case.scaled)
    return motion, min(error, before)


def _fit(x: np.ndarray, y: np.ndarray, scaled: bool) -> Motion:
    a, b = x - x.mean(0), y - y.mean(0)
    left, _, right = np.linalg.svd(b.T @ a)
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    rotation = left @ right
    factor = float(np.sqrt((b**2).sum() / (a**2).sum())) if scaled else 1.0
    return (rotation, y.mean(0) - factor * rotation @ x.mean(0), factor)


def _spread(points: np.ndarray) -> float:
    return float(np.median(np.linalg.norm(points - np.median(points, 0), axis=1)))
