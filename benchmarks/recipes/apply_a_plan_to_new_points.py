"""Fitting a map on two samples and moving 50,000 new points, against POT's transport estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

import monge

PEER = "POT"


def readings(count: int, random: np.random.Generator) -> np.ndarray:
    """What the old sensor tells."""
    centres = np.array([[0.0, 0.0], [2.2, 0.6], [0.8, 2.0]])[random.integers(0, 3, count)]
    return centres + random.normal(0, 0.35, (count, 2))


def translated(x: np.ndarray) -> np.ndarray:
    """What the new sensor would have told."""
    one, two = np.array([1.0, 0.5]), np.array([-0.4, 1.0])
    bend = 1.2 / (1 + np.exp(3 - 2 * x @ one))[:, None] * one + 0.8 / (1 + np.exp(2 - 2 * x @ two))[:, None] * two
    return x @ np.array([[1.1, 0.2], [0.2, 0.9]]) + bend + np.array([4.0, 0.0])


def data() -> dict[str, Any]:
    """Samples of 1000 readings of different pieces, and 50,000 others."""
    random = np.random.default_rng(0)
    return {
        "old": readings(1000, random),
        "new": translated(readings(1000, random)),
        "archive": readings(50_000, random),
    }


def ours(data: dict[str, Any]) -> np.ndarray:
    """An entropic plan, and its smooth map."""
    return monge.couple(data["old"], data["new"], epsilon=monge.relative(0.003)).map(data["archive"])


def theirs(data: dict[str, Any]) -> np.ndarray:
    """An exact plan: a new point moves as the nearest point of the sample."""
    import ot

    return ot.da.EMDTransport().fit(Xs=data["old"], Xt=data["new"]).transform(Xs=data["archive"])


def accuracy(data: dict[str, Any], moved: np.ndarray) -> dict[str, float]:
    """The root of the mean squared distance to where the points should be."""
    return {"error": float(np.sqrt(np.square(moved - translated(data["archive"])).sum(-1).mean()))}
