"""A photograph in the colours of another one: a map learned from 1000 pixels, and used for 273,280."""

from __future__ import annotations

from typing import Any

import numpy as np

import monge
from monge.adapt import UnbalancedMap
from monge.data import photographs

PEER = "POT"
RUNS = 3


def data() -> dict[str, Any]:
    """Samples of both photographs, all pixels of the temple, and other pixels of the flower."""
    temple, flower = (photograph.numpy() for photograph in photographs())
    random = np.random.default_rng(0)
    shuffled = random.permutation(flower.reshape(-1, 3))
    return {
        "x": random.permutation(temple.reshape(-1, 3))[:1000],
        "y": shuffled[:1000],
        "pixels": temple.reshape(-1, 3),
        "others": shuffled[-20_000:],
    }


def ours(data: dict[str, Any]) -> np.ndarray:
    """Ours."""
    colours = UnbalancedMap(target=data["y"], epsilon=monge.relative(0.01), rho=0.3)
    return colours.fit(data["x"]).transform(data["pixels"])


def theirs(data: dict[str, Any]) -> np.ndarray:
    """POT moves a new pixel as the nearest pixel of the sample."""
    import ot

    mean = ot.dist(data["x"], data["y"]).mean()
    colours = ot.da.UnbalancedSinkhornTransport(reg_e=0.01 * mean, reg_m=0.3, tol=1e-4, max_iter=1000)
    return colours.fit(Xs=data["x"], Xt=data["y"]).transform(Xs=data["pixels"])


def accuracy(data: dict[str, Any], recoloured: np.ndarray) -> dict[str, float]:
    """The mean distance of a new colour from the nearest colour of the flower, in units of a colour's range."""
    from scipy.spatial import KDTree

    some = np.random.default_rng(1).permutation(recoloured)[:2000]
    return {"from the flower": float(KDTree(data["others"]).query(some)[0].mean())}
