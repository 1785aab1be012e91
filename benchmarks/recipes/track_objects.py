"""Matching the detections of all pairs of frames of a film, against SciPy and its usual construction of dustbins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import monge

PEER = "SciPy"


def data() -> dict[str, Any]:
    """Sixty frames of about 120 detections: objects that enter, leave, and are missed, and false alarms."""
    random = np.random.default_rng(0)
    frames, objects = 60, 150
    velocity, place = random.normal(0, 1.0, (objects, 2)), random.uniform(0, 200, (objects, 2))
    enters, leaves = random.integers(0, 20, objects), random.integers(40, 61, objects)
    film = []
    for frame in range(frames):
        velocity = 0.95 * velocity + random.normal(0, 0.15, (objects, 2))
        velocity = np.where((place + velocity < 0) | (place + velocity > 200), -velocity, velocity)
        place = place + velocity
        seen = np.flatnonzero((enters <= frame) & (frame < leaves) & (random.random(objects) > 0.02))
        alarms = random.uniform(0, 200, (random.poisson(12), 2))
        film.append(np.concatenate([place[seen] + random.normal(0, 0.2, (len(seen), 2)), alarms]))
    return {"film": film}


def ours(data: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """One batch for all pairs of frames."""
    film = [torch.from_numpy(found) for found in data["film"]]
    points = torch.nn.utils.rnn.pad_sequence(film, batch_first=True)
    absent = torch.arange(points.shape[1]) >= torch.tensor([len(found) for found in film])[:, None]
    cost = torch.cdist(points[:-1], points[1:])
    row, col = monge.linear_assignment(
        cost, allowed=cost < 6.0, row_padding=absent[:-1], col_padding=absent[1:], unmatched=3.0
    )
    return [(i[i >= 0].numpy(), j[j >= 0].numpy()) for i, j in zip(row, col, strict=True)]


def theirs(data: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """SciPy knows neither gate nor price: each frame gets dustbins, one for every detection."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    pairs = []
    for x, y in zip(data["film"][:-1], data["film"][1:], strict=True):
        n, m = len(x), len(y)
        cost = cdist(x, y)
        extended = np.full((n + m, n + m), 1e6)
        extended[:n, :m] = np.where(cost < 6.0, cost, 1e6)
        extended[np.arange(n), m + np.arange(n)] = 3.0
        extended[n + np.arange(m), np.arange(m)] = 3.0
        extended[n:, m:] = 0.0
        row, col = linear_sum_assignment(extended)
        matched = (row < n) & (col < m)
        pairs.append((row[matched], col[matched]))
    return pairs


def accuracy(data: dict[str, Any], pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """What all matchings cost in all, with 3 for each detection that is alone."""
    total, count = 0.0, 0
    for x, y, (i, j) in zip(data["film"][:-1], data["film"][1:], pairs, strict=True):
        total += np.linalg.norm(x[i] - y[j], axis=-1).sum() + 3.0 * (len(x) + len(y) - 2 * len(i))
        count += len(i)
    return {"cost": total, "pairs": count}
