"""Free barycentres with weights of their own and under other costs."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import minimize

import monge
from monge.errors import InputError, ShapeError
from monge.solver import Status

D = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def clouds(seed=0):
    return [draw(n, 2, seed=seed + n) + k for k, n in enumerate((5, 7, 9))]


def objective(points, weights, measures, cost):
    problems = (monge.problem.Linear.between(points, y, weights, cost=cost) for y in measures)
    return sum(float(monge.solve(problem).value) for problem in problems) / 3


@pytest.mark.parametrize("seed", range(8))
def test_single_points_have_their_median(seed):
    points = draw(6, 3, seed=seed)
    if seed % 2:
        points = points.round()
    found = monge.barycenter([point[None] for point in points], cost="euclidean", tol=1e-9)

    def mean(z):
        return np.linalg.norm(points.numpy() - z, axis=1).mean()

    starts = (points.mean(0).numpy(), *points.numpy())
    best = min(minimize(mean, start, method="Nelder-Mead", tol=1e-12).fun for start in starts)
    assert float(found.value) <= best * (1 + 1e-7) + 1e-12


def test_a_point_with_most_of_the_weight_is_the_median():
    points = draw(4, 1, 2)
    found = monge.barycenter(list(points), [0.7, 0.1, 0.1, 0.1], cost="euclidean", start=draw(1, 2, seed=5))
    assert torch.allclose(found.points, points[0])


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "cityblock", "function"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_kept_and_no_step_makes_it_worse(cost, seed):
    cost = (lambda x, y: (x - y).abs().pow(1.5).sum(-1)) if cost == "function" else cost
    weights = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=D) + 0.05
    found = monge.barycenter(clouds(seed), point_weights=weights, cost=cost)
    assert found.status is Status.CONVERGED
    assert bool((found.history.diff() < 0).all())
    weights = weights / weights.sum()
    assert torch.allclose(found.weights, weights)
    for plan, cloud in zip(found.couplings, clouds(seed), strict=True):
        row, col = plan.marginals()
        assert torch.allclose(row, weights)
        assert torch.allclose(col, torch.full((len(cloud),), 1.0 / len(cloud), dtype=D))
    assert abs(objective(found.points, weights, clouds(seed), cost) - float(found.value)) <= 1e-9
    for k in range(5):
        moved = found.points + 1e-3 * draw(6, 2, seed=k)
        assert objective(moved, weights, clouds(seed), cost) >= float(found.value) - 2e-5


def test_it_is_not_worse_than_that_of_pot():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=D)
    measures, start = clouds(), draw(4, 2, seed=9)
    found = monge.barycenter(measures, point_weights=weights, start=start, tol=1e-8)
    masses = [np.full(len(y), 1 / len(y)) for y in measures]
    theirs = ot.lp.free_support_barycenter(
        [y.numpy() for y in measures], masses, start.numpy(), b=weights.numpy(), numItermax=300, stopThr=1e-14
    )
    value = objective(torch.from_numpy(theirs), weights, measures, "sqeuclidean")
    assert float(found.value) <= value * (1 + 1e-6)


def test_entropic_barycentres_under_other_costs_and_of_other_masses():
    measures = [(y, torch.full((len(y),), 3.0 / len(y), dtype=D)) for y in clouds()]
    found = monge.barycenter(measures, size=5, cost="euclidean", epsilon=0.2, debiased=False)
    assert found.status is Status.CONVERGED
    assert abs(float(found.weights.sum()) - 3) <= 1e-12
    assert bool((found.history.diff() < 0).all())


def test_points_follow_the_measures_with_weights_of_their_own():
    def points(shift):
        return monge.barycenter(
            [y + shift for y in clouds()], point_weights=torch.tensor([0.2, 0.3, 0.5], dtype=D), tol=1e-10
        ).points

    shift = torch.zeros(2, dtype=D, requires_grad=True)
    slope = torch.autograd.functional.jacobian(points, shift)
    assert torch.allclose(slope, torch.eye(2, dtype=D).expand(3, 2, 2), atol=1e-9)


def test_wrong_calls_say_what_is_wrong():
    measures = clouds()
    with pytest.raises(InputError, match="debiased=True needs cost='sqeuclidean'"):
        monge.barycenter(measures, cost="euclidean", epsilon=0.1)
    with pytest.raises(ShapeError, match="point_weights"):
        monge.barycenter(measures, size=4, point_weights=torch.ones(3, dtype=D))
    with pytest.raises(InputError, match="point_weights"):
        monge.barycenter(measures, point_weights=torch.tensor([1.0, -1.0], dtype=D))
    with pytest.raises(ShapeError, match="one number a point"):
        monge.barycenter(measures, point_weights=torch.ones(2, 3, dtype=D))
    with pytest.raises(InputError, match="cost"):
        monge.barycenter(measures, cost="unknown")
