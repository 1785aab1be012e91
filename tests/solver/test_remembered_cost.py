"""A plan remembers the cost it was made for, whatever the solver and the representation."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.geometry import CostMatrix, Line, PointCloud
from monge.problem import AtMost, Linear
from monge.solver import Assignment, Newton, Simplex, Sinkhorn, Sorted


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def ones(n: int) -> torch.Tensor:
    return torch.ones(n, dtype=torch.float64)


PROBLEMS = {
    "assignment": (Linear(PointCloud(cloud(7, 2), cloud(7, 2, seed=1))), Assignment()),
    "simplex": (Linear(PointCloud(cloud(6, 2), cloud(8, 2, seed=1))), Simplex()),
    "sorted": (Linear(Line(cloud(6), cloud(8, seed=1))), Sorted()),
    "partial": (
        Linear(
            CostMatrix(cloud(6, 8).square()), AtMost(torch.ones(6).double()), AtMost(torch.ones(8).double()), mass=3
        ),
        Simplex(),
    ),
    "sinkhorn": (Linear(PointCloud(cloud(6, 2), cloud(8, 2, seed=1)), epsilon=0.3), Sinkhorn()),
    "newton": (Linear(PointCloud(cloud(6, 2), cloud(8, 2, seed=1)), epsilon=0.3), Newton()),
    "batch": (Linear(PointCloud(cloud(3, 7, 2), cloud(3, 7, 2, seed=1))), Assignment()),
    "shared cost": (Linear(CostMatrix(cloud(7, 7)), epsilon=torch.tensor([0.1, 0.2]).double()), Sinkhorn()),
    "slices": (Linear(PointCloud(cloud(7, 2), cloud(7, 2, seed=1))), monge.sliced.Sliced()),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_plans_answer_what_they_cost_without_arguments(name: str) -> None:
    problem, solver = PROBLEMS[name]
    P = monge.solve(problem, solver).coupling
    cost = P.transport_cost(problem.geometry)
    torch.testing.assert_close(P.transport_cost(), cost)
    torch.testing.assert_close(P.T.transport_cost(), cost)
    torch.testing.assert_close(P.T.T.transport_cost(), cost)
    torch.testing.assert_close(P.detach().transport_cost(), cost)
    torch.testing.assert_close(P.top_k(P.shape[-1]).transport_cost(), cost)
    torch.testing.assert_close(P.sparse(mass=1.0).transport_cost(), cost)
    torch.testing.assert_close(P.round(*P.marginals()).transport_cost(), cost)
    assert P.to(torch.float32).transport_cost().dtype == torch.float32
    if P.batch_shape:
        torch.testing.assert_close(P[0].transport_cost(), cost[0])
        torch.testing.assert_close(P[1:].T.transport_cost(), cost[1:])


def test_the_cost_carries_its_gradient() -> None:
    x, y = cloud(6, 2).requires_grad_(), cloud(6, 2, seed=1)
    P = monge.couple(x, y)
    (slope,) = torch.autograd.grad(P.transport_cost(), x)
    torch.testing.assert_close(slope, 2 * (x - P.barycentric(y)).detach() / 6)


def test_a_plan_that_was_made_for_no_cost_asks_for_one() -> None:
    P = monge.coupling.PermutationCoupling(torch.tensor([1, 0]))
    with pytest.raises(monge.errors.InputError, match="was not made for a cost"):
        P.transport_cost()
    with pytest.raises(monge.errors.InputError, match="was not made for a cost"):
        P.then(P).transport_cost()
