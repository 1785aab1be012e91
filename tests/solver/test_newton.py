"""Newton's method: where it must agree with Sinkhorn, and where Sinkhorn cannot follow."""

from __future__ import annotations

import ot
import pytest
import torch
from linear_problems import PROBLEMS, D, clouds, weights

from monge.geometry import CostMatrix, PointCloud
from monge.gradient import Unrolled
from monge.problem import Linear, relative
from monge.solver import Newton, Sinkhorn, Status, _newton_direction


def solved(problem, **settings):
    return Newton(**({"tol": 1e-11} | settings))._solve(problem)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("epsilon", [0.1, 0.003])
def test_optimal_for_every_kind_of_marginal(name, epsilon):
    a, b = weights(14), weights(9)
    a[3] = 0.0
    a = a / a.sum()
    source, target, mass = PROBLEMS[name](a, b)
    problem = Linear(CostMatrix(torch.rand(14, 9, dtype=D)), source, target, epsilon=epsilon, mass=mass)
    solution = solved(problem, tol=1e-10)
    assert solution.report.status is Status.CONVERGED
    assert float(problem.primal(solution.coupling)) == pytest.approx(float(solution.value), rel=1e-9, abs=1e-9)
    assert int(solution.report.iterations) < 150
    plain = Sinkhorn(tol=1e-9, max_iter=5000)._solve(problem)
    torch.testing.assert_close(solution.coupling.dense(), plain.coupling.dense(), atol=1e-6, rtol=1e-4)
    assert (solution.coupling.dense()[3] == 0).all()


@pytest.mark.parametrize("d", [2, 32])
def test_small_epsilon_to_many_digits(d):
    """Where an accelerated Sinkhorn stalls, marginals are met to 1e-9 in about a hundred passes."""
    problem = Linear(clouds(150, 150, d), epsilon=relative(1e-4))
    solution = Newton()._solve(problem)
    row, col = solution.coupling.marginals()
    assert float((row - 1 / 150).abs().sum() + (col - 1 / 150).abs().sum()) < 2e-9
    assert int(solution.report.iterations) < 250
    exact = ot.emd2(problem.a.numpy(), problem.b.numpy(), problem.geometry.dense().numpy())
    assert exact - 1e-9 <= float(solution.coupling.transport_cost()) <= exact * (1 + 2e-3)
    stalled = Sinkhorn(max_iter=int(solution.report.iterations))._solve(problem)
    assert float(stalled.report.marginal_error) > 1e-3


@pytest.mark.parametrize("kind", ["random", "integer", "line"])
def test_degenerate_costs(kind):
    cost = {
        "random": torch.rand(60, 60, dtype=D),
        "integer": torch.randint(0, 4, (60, 60)).to(D),
        "line": (torch.arange(60.0)[:, None] - torch.arange(60.0)[None, :]).abs().to(D) / 60,
    }[kind]
    solution = Newton()._solve(Linear(CostMatrix(cost), epsilon=1e-3))
    assert solution.report.status is Status.CONVERGED
    assert float(solution.report.marginal_error) < 1e-9


def test_a_batch_is_a_loop():
    cost, a, b = torch.rand(4, 14, 9, dtype=D), weights(4, 14), weights(4, 9)
    epsilon = torch.tensor([0.1, 0.01, 0.001, 0.0003], dtype=D)
    batch = solved(Linear(CostMatrix(cost), a, b, epsilon=epsilon))
    for k in range(4):
        alone = solved(Linear(CostMatrix(cost[k]), a[k], b[k], epsilon=epsilon[k]))
        torch.testing.assert_close(batch.coupling.dense()[k], alone.coupling.dense(), atol=1e-9, rtol=1e-6)
        torch.testing.assert_close(batch.value[k], alone.value, atol=1e-12, rtol=1e-10)


def test_sparse_stored_and_streamed_plans_lead_to_one_solution(monkeypatch):
    problem = Linear(clouds(60, 50, 3), epsilon=relative(0.005))
    sparse = solved(problem).coupling.dense()
    monkeypatch.setattr(_newton_direction.StreamedPlan, "sparse", lambda self, threshold: None)
    torch.testing.assert_close(solved(problem).coupling.dense(), sparse, atol=1e-9, rtol=1e-6)
    monkeypatch.setattr(_newton_direction, "_STORED_ENTRIES", 0)
    torch.testing.assert_close(solved(problem).coupling.dense(), sparse, atol=1e-9, rtol=1e-6)


def test_one_point_and_one_row():
    assert (
        float(solved(Linear(PointCloud(torch.zeros(1, 2, dtype=D), torch.ones(1, 2, dtype=D)), epsilon=0.1)).value) == 2
    )
    one = solved(Linear(CostMatrix(torch.rand(1, 7, dtype=D)), epsilon=0.1))
    torch.testing.assert_close(one.coupling.dense(), torch.full((1, 7), 1 / 7, dtype=D))


def test_warm_start():
    problem = Linear(clouds(50, 40, 3), epsilon=relative(0.002))
    cold = solved(problem)
    warm = solved(problem, init=cold)
    assert int(warm.report.iterations) <= 3
    near = solved(Linear(problem.geometry, epsilon=problem.epsilon * 0.8), init=(cold.f, cold.g))
    assert near.report.status is Status.CONVERGED


def test_float32():
    solution = Newton()._solve(Linear(clouds(80, 80, 3, torch.float32), epsilon=relative(0.01)))
    assert float(solution.report.marginal_error) <= 1e-4


def test_the_report_says_when_iterations_ran_out():
    solution = solved(Linear(clouds(60, 60, 2), epsilon=relative(0.001)), max_iter=4)
    assert solution.report.status is Status.MAX_ITER
    assert solution.report.marginal_error.isfinite()


def test_capability():
    geometry = CostMatrix(torch.rand(4, 3, dtype=D))
    assert not Newton().supports(Linear(geometry)).supported
    assert not Newton(gradient=Unrolled()).supports(Linear(geometry, epsilon=0.1)).supported
    # The smaller epsilon, the better Newton is against Sinkhorn.
    easy, hard = Linear(geometry, epsilon=relative(0.1)), Linear(geometry, epsilon=relative(1e-3))
    assert Sinkhorn().supports(easy).cost < Newton().supports(easy).cost
    assert Newton().supports(hard).cost < Sinkhorn().supports(hard).cost
