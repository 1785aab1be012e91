"""Matching two clouds with outliers on both sides against POT; both are exact partial plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import monge

PEER = "POT"


def data() -> dict[str, Any]:
    """800 places that move along a bent flow, 100 and 150 outliers."""
    random = np.random.default_rng(0)
    x = random.uniform(0, 20, (900, 2))
    y = x[:800] + 0.15 * np.stack([np.cos(x[:800, 1]), np.sin(x[:800, 0])], 1)
    return {"x": x, "y": np.concatenate([y, random.uniform(0, 20, (150, 2))]), "matched": 800}


def ours(data: dict[str, Any]) -> np.ndarray:
    """Every point weighs one."""
    x, y = data["x"], data["y"]
    P = monge.couple(x, y, np.ones(len(x)), np.ones(len(y)), mass=data["matched"])
    return P.dense().numpy()


def theirs(data: dict[str, Any]) -> np.ndarray:
    """A matrix of all pairs, and a point for the outliers."""
    import ot

    x, y = data["x"], data["y"]
    cost = ot.dist(x, y)
    return ot.partial.partial_wasserstein(np.ones(len(x)), np.ones(len(y)), cost, m=data["matched"])


def accuracy(data: dict[str, Any], plan: np.ndarray) -> dict[str, float]:
    """What the pairs cost, the share of pairs that belong together, and by how much the mass is missed."""
    cost = torch.cdist(torch.from_numpy(data["x"]), torch.from_numpy(data["y"])).square().numpy()
    i, j = np.nonzero(plan > 0.5)
    return {
        "cost": float((plan * cost).sum()),
        "pairs right": float(((i == j) & (i < 800)).mean()),
        "mass missed": abs(float(plan.sum()) - data["matched"]),
    }
