from __future__ import annotations

import math

import pytest
import torch
from dense import Bare, assert_answers, questions, smooth_answers

from monge.errors import InputError, ShapeError
from monge.geometry import CostMatrix, LowRankCost, PointCloud


def factor(n: int, r: int, *batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*batch, n, r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "m", "r"), [(1, 1, 1), (9, 6, 2), (4, 5, 12)])
def test_factors_are_the_cost(n, m, r):
    left, right = factor(n, r), factor(m, r, seed=1)
    geometry = LowRankCost(left, right)
    assert_answers(geometry, left @ right.mT, tolerance=1e-9)
    assert geometry.rank == r
    assert geometry.error == 0


def test_batches_and_problems():
    left, right = factor(5, 2, 3, 1), factor(4, 2, 2, seed=1)
    geometry = LowRankCost(left, right)
    assert_answers(geometry, left @ right.mT, tolerance=1e-9)
    torch.testing.assert_close(geometry[2, 1].dense(), geometry.dense()[2, 1])


def test_derivatives():
    left, right = factor(4, 2).requires_grad_(), factor(3, 2, seed=1).requires_grad_()
    ask = questions((), 4, 3)
    assert torch.autograd.gradcheck(lambda a, b: smooth_answers(LowRankCost(a, b), ask), (left, right))


def points(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_exact_factors_are_taken():
    geometry = PointCloud(points(50, 3, 0), points(40, 3, 1))
    found = LowRankCost.from_geometry(geometry, 8)
    assert found.rank == 5
    assert found.error == 0
    torch.testing.assert_close(found.dense(), geometry.dense())


def test_low_rank_is_found_from_entries():
    cost = factor(200, 4) @ factor(150, 4, seed=1).mT
    found = LowRankCost.from_geometry(Bare(cost), 4, torch.Generator().manual_seed(0))
    assert found.error < 1e-10
    torch.testing.assert_close(found.dense(), cost)


@pytest.mark.parametrize(("name", "rank", "bound"), [("euclidean", 30, 2.0), ("cityblock", 30, 2.0)])
def test_error_is_near_the_best_and_told_truly(name, rank, bound):
    cost = PointCloud(points(400, 2, 0), points(300, 2, 1), name)
    found = LowRankCost.from_geometry(cost, rank, torch.Generator().manual_seed(0))
    dense = cost.dense()
    real = ((found.dense() - dense).norm() / dense.norm()).item()
    scale = torch.linalg.svdvals(dense)
    best = (scale[rank:].square().sum().sqrt() / dense.norm()).item()
    assert real < bound * best
    assert abs(found.error - real) < 0.3 * real


def test_fewer_points_than_rank_and_batches():
    cost = factor(5, 5, 2) @ factor(3, 5, 2, seed=1).mT
    found = LowRankCost.from_geometry(CostMatrix(cost), 10, torch.Generator().manual_seed(0))
    assert found.rank == 3
    torch.testing.assert_close(found.dense(), cost, rtol=1e-7, atol=1e-7)
    zero = LowRankCost.from_geometry(CostMatrix(torch.zeros(6, 5)), 2, torch.Generator().manual_seed(0))
    assert (zero.dense() == 0).all()
    assert zero.dtype == torch.float32


def test_gradients_pass_through_sampling():
    x = points(60, 2, 0).requires_grad_()
    y = points(50, 2, 1)
    weight = factor(60, 1) @ factor(50, 1, seed=1).mT
    found = LowRankCost.from_geometry(
        PointCloud(x, y, power=1.0, cost="euclidean"), 25, torch.Generator().manual_seed(0)
    )
    (grad,) = torch.autograd.grad((found.dense() * weight).sum(), x)
    (wanted,) = torch.autograd.grad((PointCloud(x, y, "euclidean").dense() * weight).sum(), x)
    assert ((grad - wanted).norm() / wanted.norm()).item() < 0.1


def test_same_seed_same_factors():
    cost = PointCloud(points(60, 2, 0), points(50, 2, 1), "euclidean")
    first = LowRankCost.from_geometry(cost, 5, torch.Generator().manual_seed(3))
    second = LowRankCost.from_geometry(cost, 5, torch.Generator().manual_seed(3))
    assert (first.A == second.A).all()


def test_errors_say_what_to_do():
    with pytest.raises(ShapeError, match="A has 2 coordinates and B has 3"):
        LowRankCost(torch.ones(4, 2), torch.ones(4, 3))
    with pytest.raises(InputError, match="error must lie in"):
        LowRankCost(torch.ones(4, 2), torch.ones(4, 2), -1.0)
    with pytest.raises(InputError, match="rank must be a positive integer"):
        LowRankCost.from_geometry(CostMatrix(torch.ones(4, 4)), 0)
    with pytest.raises(InputError, match="large finite cost"):
        LowRankCost.from_geometry(CostMatrix(torch.full((4, 4), math.inf)), 1)
