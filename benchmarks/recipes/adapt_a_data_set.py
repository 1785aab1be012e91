"""Digits of one scanner moved to those of another one, and a classifier trained on what was moved."""

from __future__ import annotations

from typing import Any

import numpy as np

import monge
from monge.adapt import EntropicMap

PEER = "POT"


def data() -> dict[str, Any]:
    """700 digits with labels, and 700 others, turned, blurred and grey."""
    from scipy.ndimage import gaussian_filter, rotate
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    X, order = X / 16, random.permutation(len(X))
    old, new = order[:700], order[700:1400]
    images = rotate(X[new].reshape(-1, 8, 8), 20, axes=(1, 2), reshape=False, order=1)
    images = (0.3 + 0.5 * gaussian_filter(images, (0, 0.6, 0.6))).reshape(-1, 64)
    return {"X": X[old], "y": y[old], "target": images + random.normal(0, 0.03, images.shape), "truth": y[new]}


def ours(data: dict[str, Any]) -> np.ndarray:
    """Ours."""
    return EntropicMap(target=data["target"], epsilon=monge.relative(0.02)).fit(data["X"]).transform(data["X"])


def theirs(data: dict[str, Any]) -> np.ndarray:
    """POT's entropy is absolute, so the mean cost is computed first."""
    import ot

    mean = ot.dist(data["X"], data["target"]).mean()
    adapted = ot.da.SinkhornTransport(reg_e=0.02 * mean, tol=1e-6, max_iter=10_000)
    return adapted.fit(Xs=data["X"], Xt=data["target"]).transform(Xs=data["X"])


def accuracy(data: dict[str, Any], moved: np.ndarray) -> dict[str, float]:
    """The share of the new digits that are recognised."""
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=2000).fit(moved, data["y"])
    return {"recognised": classifier.score(data["target"], data["truth"])}
