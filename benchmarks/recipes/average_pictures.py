"""Barycentres of handwritten threes against POT; both minimise the mean Sinkhorn divergence to the pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

import monge
from monge.geometry import Grid

PEER = "POT"


def data() -> np.ndarray:
    """Eight threes of 28 x 28 pixels at different places, each with sum one."""
    digits = load_digits()
    threes = zoom(digits.images[digits.target == 3][:8], (1, 2, 2), order=1)
    random = np.random.default_rng(0)
    threes = np.stack([np.pad(three, [(k, 12 - k) for k in random.integers(1, 12, 2)]) for three in threes])
    return threes / threes.sum((1, 2), keepdims=True)


def ours(threes: np.ndarray) -> np.ndarray:
    """In squared pixels."""
    return monge.barycenter_on(Grid((28, 28)), threes.reshape(8, -1), epsilon=1.0, tol=3e-3).reshape(28, 28)


def theirs(threes: np.ndarray) -> Any:
    """Pixels lie between zero and one there."""
    import ot

    return ot.bregman.convolutional_barycenter2d_debiased(threes, reg=1.0 / 27**2)


def accuracy(threes: np.ndarray, average: np.ndarray) -> dict[str, float]:
    """The mean Sinkhorn divergence from the average to the pictures, in squared pixels."""
    places = torch.from_numpy(np.argwhere(np.ones((28, 28))).astype(float)).expand(8, -1, -1)
    held = torch.from_numpy(average / average.sum()).flatten().expand(8, -1)
    pictures = torch.from_numpy(threes).flatten(1)
    found = monge.divergence(places, places, held, pictures, epsilon=1.0, solver=monge.solver.Newton(tol=1e-7))
    return {"mean divergence": float(found.mean())}
