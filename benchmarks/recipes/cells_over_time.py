"""Two days of cells with unknown growth: three plans, each of which takes its growth from the last one, against POT."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import monge
from monge.coupling import Coupling, DenseCoupling

PEER = "POT"


def data() -> dict[str, Any]:
    """Cells of two days with ten coordinates; of three branches one doubles and another one halves."""
    random = np.random.default_rng(0)
    angles = np.array([0.9, 0.0, -0.9])

    def cells(day: float, counts: tuple[int, int, int]) -> np.ndarray:
        branch = np.repeat(np.arange(3), counts)
        progress = day + random.normal(0, 0.25, len(branch))
        beyond = np.clip(progress - 0.6, 0, None)
        place = np.zeros((len(branch), 10))
        place[:, 0] = progress - beyond * (1 - np.cos(angles[branch]))
        place[:, 1] = beyond * np.sin(angles[branch])
        return place + random.normal(0, 0.12, place.shape)

    first, second = cells(1.0, (500, 500, 500)), cells(2.0, (1000, 500, 250))
    mean_cost = np.square(first[:, None] - second).sum(-1).mean()
    return {"first": first, "second": second, "epsilon": 0.02 * float(mean_cost)}


def ours(data: dict[str, Any]) -> tuple[Coupling, np.ndarray]:
    """Potentials, from which pushing, pulling and marginals are computed."""
    x, y = data["first"], data["second"]
    growth = np.full(len(x), 1 / len(x))
    for _ in range(3):
        P = monge.couple(x, y, guess := growth, epsilon=data["epsilon"], rho=(0.5, 50.0))
        growth = (P.marginals()[0] / P.mass).numpy()
    return P, guess


def theirs(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of all pairs."""
    import ot

    x, y = data["first"], data["second"]
    M = ot.dist(x, y)
    growth, uniform = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
    for _ in range(3):
        P = ot.unbalanced.sinkhorn_unbalanced(
            guess := growth, uniform, M, data["epsilon"], (0.5, 50.0), numItermax=10_000, stopThr=1e-7
        )
        growth = P.sum(1) / P.sum()
    return P, guess


def accuracy(data: dict[str, Any], answer: tuple[Coupling | np.ndarray, np.ndarray]) -> dict[str, float]:
    """How far the objective of the last plan is above the least one of its problem, relative to it; and the growth."""
    found, guess = answer
    plan = found.dense().numpy() if isinstance(found, Coupling) else found
    tensors = (torch.from_numpy(part) for part in (data["first"], data["second"], guess))
    problem = monge.Linear.between(*tensors, epsilon=data["epsilon"], rho=(0.5, 50.0))
    best = monge.solve(problem, monge.solver.Newton(tol=1e-12)).value
    excess = float(problem.primal(DenseCoupling(torch.from_numpy(plan))) / best - 1)
    rates = plan.sum(1) / plan.sum() * len(data["second"])
    means = [rates[500 * k : 500 * (k + 1)].mean() for k in range(3)]
    return {"excess": excess, "growth error": float(np.abs(np.array(means) / [2.0, 1.0, 0.5] - 1).max())}
