from __future__ import annotations

import math

import pytest
import torch
from dense import Bare, assert_answers, questions, smooth_answers

from monge.errors import DtypeError, InputError, ShapeError
from monge.geometry import CostMatrix, PointCloud, Sum
from monge.kernels import Points


def cloud(d: int, cost: str = "sqeuclidean", *batch: int, n: int = 6, m: int = 4, seed: int = 0, **rest):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*batch, n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(*batch, m, d, generator=generator, dtype=torch.float64)
    return PointCloud(x, y, cost, **rest)


def matrix(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize(
    ("first", "second", "melts"),
    [
        (cloud(2), cloud(3, seed=1), True),
        (cloud(2, "dot"), cloud(3, "dot", seed=1), True),
        (cloud(2, "cityblock"), cloud(3, "cityblock", seed=1), True),
        (cloud(2, "minkowski", p=3.0, power=3.0), cloud(3, "minkowski", p=3.0, power=3.0, seed=1), True),
        (cloud(2, "cosine"), cloud(3, seed=1), True),
        (cloud(2, "euclidean"), cloud(3, "euclidean", seed=1), False),
        (cloud(2), cloud(3, "dot", seed=1), False),
        (cloud(2), CostMatrix(matrix(6, 4)), False),
        (Bare(matrix(6, 4)), cloud(2, "chebyshev"), False),
    ],
)
def test_two_terms(first, second, melts):
    total = Sum((first, second), (0.5, 2.0))
    assert isinstance(total._pairs(), Points) == melts
    assert_answers(total, 0.5 * first.dense() + 2.0 * second.dense(), tolerance=1e-9)
    assert_answers(first + second, first.dense() + second.dense(), tolerance=1e-9)


def test_fused_features_and_positions_have_factors():
    positions, features = cloud(2), cloud(5, "dot", seed=1)
    left, right = Sum((positions, features), (0.3, -2.0)).factors()
    assert left.shape == (6, 9)
    torch.testing.assert_close(left @ right.mT, 0.3 * positions.dense() - 2 * features.dense())
    assert (positions + cloud(2, "cityblock")).factors() is None


@pytest.mark.parametrize("term", [cloud(2, "euclidean"), CostMatrix(matrix(6, 4)), Bare(matrix(6, 4))])
def test_scaling(term):
    assert_answers(3.0 * term, 3 * term.dense(), tolerance=1e-9)
    assert_answers(term * 0.25, 0.25 * term.dense(), tolerance=1e-9)
    assert_answers(-1.5 * term, -1.5 * term.dense(), tolerance=1e-9)
    assert_answers(0.0 * term, 0 * term.dense(), tolerance=1e-9)


def test_scaling_each_problem():
    weight = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    first, second = cloud(2, "euclidean", 3), cloud(2)
    assert_answers(weight * first, weight[:, None, None] * first.dense(), tolerance=1e-9)
    assert_answers(weight * second, weight[:, None, None] * second.dense(), tolerance=1e-9)
    total = Sum((first, second, CostMatrix(matrix(6, 4))), (1.0, weight, -1.0))
    wanted = first.dense() + weight[:, None, None] * second.dense() - matrix(6, 4)
    assert_answers(total, wanted, tolerance=1e-9)


def test_sums_are_flat():
    first, second = cloud(2), cloud(3, seed=1)
    total = 2.0 * (first + 3.0 * second) + first
    assert len(total.terms) == 3
    assert total.weights == (2.0, 6.0, 1.0)
    assert_answers(total, 3 * first.dense() + 6 * second.dense(), tolerance=1e-9)


def test_forbidden_stays_forbidden():
    cost = matrix(6, 4)
    cost[1:4, 2] = math.inf
    wanted = torch.where(cost == math.inf, cost, cloud(2).dense() - 2 * cost)
    assert_answers(Sum((cloud(2), CostMatrix(cost)), (1.0, -2.0)), wanted, tolerance=1e-9)
    assert Sum((CostMatrix(cost),), (0.0,)).dense()[2, 2] == math.inf


def test_derivatives_reach_weights_and_points():
    ask = questions((), 4, 3)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    alone = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    target = x.detach()[:3] + 1
    cost = matrix(4, 3).requires_grad_()

    def total(weight, alone, x, cost):
        melted = Sum((PointCloud(x, target), PointCloud(x.sin(), x[:3].cos())), (weight, 2.0))
        mixed = Sum((PointCloud(x, target, "euclidean"), CostMatrix(cost)), (weight, -1.0))
        single = alone * CostMatrix(cost)
        return smooth_answers(melted, ask) + smooth_answers(mixed, ask) + smooth_answers(single, ask)

    assert torch.autograd.gradcheck(total, (weight, alone, x, cost))
    assert torch.autograd.gradgradcheck(total, (weight, alone, x, cost), fast_mode=True)


def test_detach_reaches_the_terms():
    cost, weight = matrix(2, 2).requires_grad_(), torch.tensor(2.0).double().requires_grad_()
    total = Sum((CostMatrix(cost),), (weight,)).detach()
    assert not total.dense().requires_grad
    assert total.to(torch.float32).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), InputError, r"Sum\(\(first, second\)\)"),
        (((torch.zeros(2, 2),),), InputError, "Tensor"),
        (((cloud(2), cloud(2, n=5)),), ShapeError, r"\(6, 4\), \(5, 4\)"),
        (((cloud(2), cloud(2)), (1.0,)), ShapeError, "1 weights for 2 terms"),
        (((cloud(2), cloud(2).to(torch.float32)),), DtypeError, r"convert them with .to"),
        (((cloud(2),), (math.nan,)), InputError, r"weights\[0\]"),
        (((cloud(2),), (torch.tensor(math.inf),)), InputError, r"weights\[0\]"),
        (((cloud(2, "dot", 2), cloud(2, "dot", 3)),), ShapeError, r"broadcast.*\(2,\), \(3,\)"),
    ],
)
def test_errors_say_what_to_do(arguments, error, message):
    with pytest.raises(error, match=message):
        Sum(*(arguments or ((),)))


def test_one_problem_of_a_batch():
    weight = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    total = Sum((cloud(2, "euclidean", 3), CostMatrix(matrix(6, 4))), (1.0, weight))
    torch.testing.assert_close(total[2].dense(), total.dense()[2])
