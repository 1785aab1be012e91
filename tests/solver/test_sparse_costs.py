"""Transport along a list of pairs, beside a matrix in which all others cost infinity, and beside POT."""

from __future__ import annotations

import math

import pytest
import torch
from linear_problems import D, weights
from oracles import transport_value

from monge import couple, kernels, solve
from monge.errors import InfeasibleError
from monge.geometry import CostMatrix, SparseCost
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Simplex, Sinkhorn, Status
from monge.testing import LargestTensor


def neighbours(n, m, each, seed=0):
    """Points on a ring, each beside some of the others, so that uniform weights and those nearby can be coupled."""
    generator = torch.Generator().manual_seed(seed)
    i = torch.arange(n).repeat_interleave(each)
    j = ((i * m) // n + torch.arange(each).repeat(n)) % m
    return SparseCost(i, j, torch.rand(len(i), generator=generator, dtype=D), n, m)


@pytest.mark.parametrize("shape", [(12, 12), (10, 15), (15, 10)])
def test_exact_as_by_its_matrix(shape):
    n, m = shape
    geometry = neighbours(n, m, 6)
    a, b = torch.full((n,), 1.0 / n, dtype=D), torch.full((m,), 1.0 / m, dtype=D)
    solution = solve(Linear(geometry, a, b), Simplex())
    assert solution.report.status is Status.OPTIMAL
    value = transport_value(geometry.dense(), a, b)
    assert solution.value.item() == pytest.approx(value, rel=1e-9)
    assert solution.coupling.transport_cost().item() == pytest.approx(value, rel=1e-9)
    assert (solution.coupling.dense()[geometry.dense() == math.inf] == 0).all()


def test_the_problems_of_a_batch_share_their_pairs():
    geometry = neighbours(9, 7, 4)
    cost = geometry.cost * torch.tensor([1.0, 2.0, 1e-3], dtype=D)[:, None] + torch.rand(
        3, len(geometry.i), generator=torch.Generator().manual_seed(1), dtype=D
    )
    batch = geometry._replace(cost=cost)
    solution = solve(Linear(batch), Simplex())
    assert solution.report.status is Status.OPTIMAL
    for k in range(3):
        torch.testing.assert_close(solution.value[k], solve(Linear(CostMatrix(batch.dense()[k])), Simplex()).value)


def test_points_without_weight_take_no_part():
    geometry, a, b = neighbours(8, 8, 5), torch.full((8,), 1.0, dtype=D), torch.full((8,), 1.0, dtype=D)
    a[3] = b[3] = 0
    solution = solve(Linear(geometry, a, b), Simplex())
    assert solution.report.status is Status.OPTIMAL
    torch.testing.assert_close(solution.value, solve(Linear(CostMatrix(geometry.dense()), a, b), Simplex()).value)


def test_as_pot():
    ot = pytest.importorskip("ot")
    geometry = neighbours(20, 20, 5)
    cost = geometry.dense().nan_to_num(posinf=1e6)
    weight = torch.full((20,), 0.05, dtype=D)
    theirs = ot.emd2(weight.numpy(), weight.numpy(), cost.numpy())
    assert solve(Linear(geometry)).value.item() == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize("sides", [None, "kl", "at most"])
def test_entropic_as_by_its_matrix(sides):
    geometry, a, b = neighbours(10, 9, 5), torch.full((10,), 0.1, dtype=D), torch.full((9,), 1 / 9, dtype=D)
    made = {None: (a, b), "kl": (Relaxed(a, 0.5), Relaxed(2 * b, 0.5)), "at most": (AtMost(a), b * 0.8)}[sides]
    one = solve(Linear(geometry, *made, epsilon=0.1), Sinkhorn(tol=1e-10))
    other = solve(Linear(CostMatrix(geometry.dense()), *made, epsilon=0.1), Sinkhorn(tol=1e-10))
    torch.testing.assert_close(one.value, other.value, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(one.coupling.dense(), other.coupling.dense(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(one.coupling.transport_cost(), other.coupling.transport_cost())


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_derivatives_by_the_costs(epsilon):
    geometry = neighbours(6, 6, 3)

    def value(cost):
        return solve(Linear(geometry._replace(cost=cost), epsilon=epsilon)).value

    torch.autograd.gradcheck(value, geometry.cost.clone().requires_grad_(), eps=1e-5, atol=1e-4)


def test_marginals_of_a_price():
    geometry, a, b = neighbours(7, 8, 4), weights(7), 1.5 * weights(8)
    for penalty in ("tv", "kl"):
        sides = Relaxed(a, 0.4, penalty), Relaxed(b, 0.4, penalty)
        torch.testing.assert_close(
            solve(Linear(geometry, *sides)).value, solve(Linear(CostMatrix(geometry.dense()), *sides)).value
        )


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_where_no_plan_exists(epsilon):
    geometry = SparseCost(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), torch.rand(3, dtype=D), 3, 2)
    with pytest.raises(InfeasibleError, match=r"rows 0, 1 hold 0\.666667 and reach only column 0, with room for 0\.5"):
        couple(geometry, epsilon=epsilon)
    a, b = torch.tensor([0.5, 0.5, 0.0], dtype=D), torch.tensor([0.5, 0.5], dtype=D)
    problem = Linear(geometry, Relaxed(a, 1.0), b, epsilon=epsilon)
    with pytest.raises(InfeasibleError, match=r"column 1 holds 0\.5 and reaches no row with mass"):
        solve(problem)


# Without the native kernels a linear programme reads the costs as a matrix.
NATIVE = pytest.mark.skipif(not kernels.AVAILABLE, reason="the native kernels are not built")


@pytest.mark.parametrize("epsilon", [pytest.param(0.0, marks=NATIVE), 0.1])
def test_memory_is_that_of_the_list(epsilon):
    n, each = 3000, 4
    geometry = neighbours(n, n, each)
    with LargestTensor() as largest:
        solution = solve(Linear(geometry, epsilon=epsilon), None if epsilon == 0 else Sinkhorn(max_iter=5, tol=1e-3))
        solution.coupling.transport_cost()
    assert largest.numbers <= 40 * n * each
