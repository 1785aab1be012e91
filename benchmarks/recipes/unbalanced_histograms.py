"""What moved, disappeared and is new between two histograms on a line, at a price for a unit of mass, against POT."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import monge
from monge.coupling import DenseCoupling

PEER = "POT"


def data() -> dict[str, Any]:
    """Two chromatograms of 200 bins."""
    minutes = np.linspace(0, 30, 200)

    def chromatogram(*peaks: tuple[float, float, float]) -> np.ndarray:
        return np.sum([h * np.exp(-(((minutes - centre) / width) ** 2) / 2) for centre, width, h in peaks], 0)

    before = chromatogram((4.0, 0.4, 1.0), (9.8, 0.4, 1.6), (14.2, 0.3, 0.8), (18.5, 0.5, 1.2))
    after = chromatogram((4.5, 0.4, 1.0), (10.5, 0.4, 1.6), (19.3, 0.5, 1.2), (25.0, 0.5, 0.9))
    return {"points": minutes[:, None], "before": before, "after": after}


def ours(data: dict[str, Any]) -> np.ndarray:
    """An exact plan on a line."""
    points = data["points"]
    return monge.couple(points, points, data["before"], data["after"], rho=2.0, penalty="tv").dense().numpy()


def theirs(data: dict[str, Any]) -> np.ndarray:
    """A matrix of all pairs, and a general method of descent."""
    import ot

    cost = ot.dist(data["points"], data["points"])
    return ot.unbalanced.lbfgsb_unbalanced(
        data["before"], data["after"], cost, reg=0, reg_m=2.0, regm_div="tv", numItermax=5000
    )


def accuracy(data: dict[str, Any], plan: np.ndarray) -> dict[str, float]:
    """The price of the plan, and how far it is above the least one, relative to it."""
    points, before, after = (torch.from_numpy(data[name]) for name in ("points", "before", "after"))
    problem = monge.Linear.between(points, points, before, after, rho=2.0, penalty="tv")
    price = float(problem.primal(DenseCoupling(torch.from_numpy(plan))))
    return {"price": price, "excess": price / float(monge.solve(problem).value) - 1}
