"""Sinkhorn against closed forms, linear programmes and POT, for every kind of marginal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import ot
import pytest
import torch
from linear_problems import PROBLEMS, D, clouds, weights
from torch.utils._python_dispatch import TorchDispatchMode

from monge.errors import InfeasibleError, InputError, PrecisionWarning
from monge.geometry import CostMatrix, PointCloud
from monge.problem import AtMost, Linear, Relaxed, relative
from monge.solver import DualSolution, Sinkhorn, Status


def solved(problem, **settings):
    return Sinkhorn(**({"tol": 1e-11} | settings))._solve(problem)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("epsilon", [0.5, 0.03])
def test_optimal_by_duality(name, epsilon):
    """No oracle is needed where primal and dual meet."""
    a, b = weights(14), weights(9)
    source, target, mass = PROBLEMS[name](a, b)
    problem = Linear(CostMatrix(torch.rand(14, 9, dtype=D)), source, target, epsilon=epsilon, mass=mass)
    solution = solved(problem)
    assert solution.report.status is Status.CONVERGED
    assert float(solution.report.marginal_error) <= 1e-11
    primal, dual = problem.primal(solution.coupling), problem.dual(solution.f, solution.g)
    assert float(primal) == pytest.approx(float(dual), abs=1e-9)
    assert float(solution.value) == pytest.approx(float(dual), abs=1e-13)
    assert float(problem.gap(solution.coupling)) == pytest.approx(float(solution.report.duality_gap), abs=1e-12)
    assert abs(float(solution.report.duality_gap)) < 1e-9


@pytest.mark.parametrize("epsilon", [0.5, 0.05, 0.005])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (25, 13), (63, 100)])
def test_balanced_matches_pot(n, m, epsilon):
    a, b, cost = weights(n), weights(m), torch.rand(n, m, dtype=D)
    plan = ot.sinkhorn(a.numpy(), b.numpy(), cost.numpy(), epsilon, "sinkhorn_log", 200_000, 1e-13)
    solution = solved(Linear(CostMatrix(cost), a, b, epsilon=epsilon))
    np.testing.assert_allclose(solution.coupling.dense().numpy(), plan, atol=1e-9)
    assert float(solution.coupling.transport_cost()) == pytest.approx(float((plan * cost.numpy()).sum()), abs=1e-9)


@pytest.mark.parametrize("rho", [0.05, 0.5, 20.0])
def test_unbalanced_matches_pot(rho):
    a, b, cost = weights(20), 2 * weights(15), torch.rand(20, 15, dtype=D)
    reference = a.numpy()[:, None] * b.numpy()[None, :]
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a.numpy(), b.numpy(), cost.numpy(), 0.05, rho, "sinkhorn", "kl", reference, numItermax=50_000, stopThr=1e-15
    )
    solution = solved(Linear(CostMatrix(cost), Relaxed(a, rho), Relaxed(b, rho), epsilon=0.05))
    np.testing.assert_allclose(solution.coupling.dense().numpy(), plan, atol=1e-10)


@pytest.mark.parametrize("mass", [0.05, 0.5, 0.95])
def test_partial_matches_pot(mass):
    """POT takes the entropy against ones instead of a⊗b, which is a change of the cost."""
    a, b, cost = weights(20), 1.3 * weights(15), torch.rand(20, 15, dtype=D)
    shifted = cost - 0.05 * torch.log(a[:, None] * b[None, :])
    plan = ot.partial.entropic_partial_wasserstein(
        a.numpy(), b.numpy(), shifted.numpy(), 0.05, m=mass, numItermax=20_000, stopThr=1e-15
    )
    solution = solved(Linear(CostMatrix(cost), AtMost(a), AtMost(b), epsilon=0.05, mass=mass))
    np.testing.assert_allclose(solution.coupling.dense().numpy(), plan, atol=1e-9)
    row, col = solution.coupling.marginals()
    assert float(row.sum()) == pytest.approx(mass, abs=1e-11)
    assert (row <= a + 1e-11).all()
    assert (col <= b + 1e-11).all()


def test_bounds_around_the_exact_cost():
    a, b, cost = weights(30), weights(20), torch.rand(30, 20, dtype=D)
    exact = ot.emd2(a.numpy(), b.numpy(), cost.numpy())
    epsilon = 0.01
    solution = solved(Linear(CostMatrix(cost), a, b, epsilon=epsilon))
    plan = torch.from_numpy(ot.emd(a.numpy(), b.numpy(), cost.numpy()))
    entropy = float(torch.special.xlogy(plan, plan / (a[:, None] * b[None, :])).sum())
    assert exact - 1e-10 <= float(solution.value) <= exact + epsilon * entropy + 1e-10
    assert float(solution.coupling.transport_cost()) >= exact - 1e-10


@pytest.mark.parametrize("rho", [0.1, 1.0, 1000.0])
def test_unbalanced_mass_identity(rho):
    a, b, epsilon = weights(20), 2 * weights(15), 0.05
    problem = Linear(CostMatrix(torch.rand(20, 15, dtype=D)), Relaxed(a, rho), Relaxed(b, rho), epsilon=epsilon)
    solution = solved(problem)
    moved = float(solution.coupling.mass)
    assert float(solution.value) == pytest.approx(rho * 3 + epsilon * 2 - (2 * rho + epsilon) * moved, rel=1e-9)
    row, col = solution.coupling.marginals()
    torch.testing.assert_close(row, a * torch.exp(-solution.f / rho))
    torch.testing.assert_close(col, b * torch.exp(-solution.g / rho))


def test_translations_make_large_rho_cheap():
    a, b = weights(40), weights(40)
    problem = Linear(CostMatrix(torch.rand(40, 40, dtype=D)), Relaxed(a, 1e4), Relaxed(b, 1e4), epsilon=0.05)
    assert int(solved(problem, tol=1e-9).report.iterations) < 100
    balanced = solved(Linear(problem.geometry, a, b, epsilon=0.05)).coupling.dense()
    torch.testing.assert_close(solved(problem, tol=1e-9).coupling.dense(), balanced, atol=1e-7, rtol=1e-3)


def test_limits():
    a, b, cost = weights(8), weights(6), torch.rand(8, 6, dtype=D)
    independent = solved(Linear(CostMatrix(cost), a, b, epsilon=1e6)).coupling.dense()
    torch.testing.assert_close(independent, a[:, None] * b[None, :], atol=1e-6, rtol=1e-5)
    nothing = solved(Linear(CostMatrix(cost + 1), Relaxed(a, 1e-3), Relaxed(b, 1e-3), epsilon=1e-3))
    assert float(nothing.coupling.mass) < 1e-6
    everything = solved(Linear(CostMatrix(cost), Relaxed(a, 2.0, "tv"), Relaxed(b, 2.0, "tv"), epsilon=0.05))
    torch.testing.assert_close(everything.coupling.marginals()[0], a, atol=1e-9, rtol=1e-8)


def test_cost_may_be_shifted_by_functions_of_rows_and_columns():
    a, b, cost = weights(12), weights(9), torch.rand(12, 9, dtype=D)
    u, v = 3 * torch.randn(12, dtype=D), 3 * torch.randn(9, dtype=D)
    plain = solved(Linear(CostMatrix(cost), a, b, epsilon=0.05))
    shifted = solved(Linear(CostMatrix(cost + u[:, None] + v[None, :]), a, b, epsilon=0.05))
    torch.testing.assert_close(shifted.coupling.dense(), plain.coupling.dense(), atol=1e-10, rtol=1e-8)
    assert float(shifted.value - plain.value) == pytest.approx(float(a @ u + b @ v), abs=1e-10)


def test_order_of_points_does_not_matter():
    geometry = clouds(20, 15, 3)
    p, q = torch.randperm(20), torch.randperm(15)
    plain = solved(Linear(geometry, epsilon=relative(0.05))).coupling.dense()
    other = solved(Linear(PointCloud(geometry.x[p], geometry.y[q]), epsilon=relative(0.05))).coupling.dense()
    torch.testing.assert_close(other, plain[p][:, q], atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_of_the_cost_do_not_matter(scale):
    cost = torch.rand(12, 9, dtype=D)
    plain = solved(Linear(CostMatrix(cost), epsilon=0.01))
    scaled = solved(Linear(CostMatrix(scale * cost), epsilon=0.01 * scale))
    torch.testing.assert_close(scaled.coupling.dense(), plain.coupling.dense(), atol=1e-9, rtol=1e-7)
    assert int(scaled.report.iterations) == pytest.approx(int(plain.report.iterations), abs=6)


def test_stored_and_streamed_costs_agree():
    geometry = clouds(40, 30, 12)
    streamed = solved(Linear(geometry, epsilon=relative(0.02)))
    stored = solved(Linear(CostMatrix(geometry.dense()), epsilon=relative(0.02)))
    torch.testing.assert_close(streamed.coupling.dense(), stored.coupling.dense(), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", ["balanced", "kl", "tv", "partial"])
def test_a_batch_is_a_loop(name):
    """Problems of very different difficulty, so that some leave the batch long before others."""
    cost = torch.rand(6, 14, 9, dtype=D)
    epsilon = torch.tensor([1.0, 0.3, 0.1, 0.03, 0.01, 0.003], dtype=D)
    a, b = weights(6, 14), weights(6, 9)
    source, target, mass = PROBLEMS[name](a, b)
    batch = solved(Linear(CostMatrix(cost), source, target, epsilon=epsilon, mass=mass), max_iter=500)
    for k in range(6):
        source, target, mass = PROBLEMS[name](a[k], b[k])
        alone = solved(Linear(CostMatrix(cost[k]), source, target, epsilon=epsilon[k], mass=mass), max_iter=500)
        torch.testing.assert_close(batch.coupling.dense()[k], alone.coupling.dense(), atol=1e-10, rtol=1e-9)
        torch.testing.assert_close(batch.value[k], alone.value, atol=1e-12, rtol=1e-10)
        assert abs(int(batch.report.iterations[k]) - int(alone.report.iterations)) <= 3


def test_batches_broadcast():
    x, y, b = torch.randn(2, 1, 7, 3, dtype=D), torch.randn(3, 5, 3, dtype=D), weights(5)
    solution = solved(Linear(PointCloud(x, y), target=b, epsilon=1.0))
    assert solution.coupling.shape == (2, 3, 7, 5)
    alone = solved(Linear(PointCloud(x[1, 0], y[2]), target=b, epsilon=1.0))
    torch.testing.assert_close(solution.f[1, 2], alone.f)


@pytest.mark.parametrize("name", PROBLEMS)
def test_zero_weights_are_absence(name):
    a, b, cost = weights(14), weights(9), torch.rand(14, 9, dtype=D)
    here_a, here_b = torch.ones(14, dtype=torch.bool), torch.ones(9, dtype=torch.bool)
    here_a[[0, 5]], here_b[[2, 8]] = False, False
    few_a, few_b = weights(12), weights(7)
    a, b = torch.zeros(14, dtype=D), torch.zeros(9, dtype=D)
    a[here_a], b[here_b] = few_a, few_b
    source, target, mass = PROBLEMS[name](a, b)
    full = solved(Linear(CostMatrix(cost), source, target, epsilon=0.05, mass=mass))
    source, target, mass = PROBLEMS[name](few_a, few_b)
    few = solved(Linear(CostMatrix(cost[here_a][:, here_b]), source, target, epsilon=0.05, mass=mass))
    plan = full.coupling.dense()
    assert (plan[~here_a] == 0).all()
    assert (plan[:, ~here_b] == 0).all()
    torch.testing.assert_close(plan[here_a][:, here_b], few.coupling.dense(), atol=1e-10, rtol=1e-8)
    assert full.f.isfinite().all()
    assert full.g.isfinite().all()
    torch.testing.assert_close(full.value, few.value, atol=1e-10, rtol=1e-9)


def test_forbidden_pairs():
    cost = torch.rand(6, 6, dtype=D)
    cost[torch.arange(6), torch.arange(6)] = math.inf
    solution = solved(Linear(CostMatrix(cost), epsilon=0.05))
    assert (solution.coupling.dense().diagonal() == 0).all()
    assert solution.report.status is Status.CONVERGED
    cost[2] = math.inf
    with pytest.raises(InfeasibleError, match=r"row 2 holds 0\.166667 and reaches no column"):
        solved(Linear(CostMatrix(cost), epsilon=0.05))
    relaxed = solved(Linear(CostMatrix(cost), Relaxed(weights(6), 0.5), Relaxed(weights(6), 0.5), epsilon=0.05))
    assert float(relaxed.report.duality_gap) == pytest.approx(0.0, abs=1e-9)


def test_duplicated_points_share_their_mass():
    x = torch.randn(6, 2, dtype=D)
    twice = solved(Linear(PointCloud(torch.cat([x, x]), x), epsilon=0.5)).coupling.dense()
    once = solved(Linear(PointCloud(x, x), epsilon=0.5)).coupling.dense()
    torch.testing.assert_close(twice[:6] + twice[6:], once, atol=1e-10, rtol=1e-8)


def test_dual_value_never_falls_without_jumps():
    problem = Linear(CostMatrix(torch.rand(20, 15, dtype=D)), epsilon=0.01)
    values = [float(solved(problem, max_iter=k, anneal=False, accelerate=False).value) for k in range(1, 25)]
    assert all(later >= earlier - 1e-14 for earlier, later in itertools.pairwise(values))


def test_acceleration_saves_most_iterations():
    problem = Linear(clouds(64, 64, 2), epsilon=relative(0.004))
    fast = int(solved(problem, tol=1e-4).report.iterations)
    slow = int(solved(problem, tol=1e-4, accelerate=False, max_iter=10_000).report.iterations)
    assert 5 * fast < slow


def test_warm_start():
    problem = Linear(clouds(50, 40, 3), epsilon=relative(0.01))
    cold = solved(problem)
    assert isinstance(cold, DualSolution)
    for init in (cold, (cold.f, cold.g)):
        warm = solved(problem, init=init)
        assert int(warm.report.iterations) <= 2
        torch.testing.assert_close(warm.coupling.dense(), cold.coupling.dense(), atol=1e-11, rtol=1e-8)
    with pytest.raises(InputError, match="init: g must have 40 entries"):
        solved(problem, init=(cold.f, cold.g[:-1]))


def test_float32_meets_its_tolerance():
    problem = Linear(clouds(100, 80, 3, torch.float32), epsilon=relative(0.02))
    solution = Sinkhorn()._solve(problem)
    assert solution.f.dtype == torch.float32
    assert float(solution.report.marginal_error) <= 1e-4
    double = Sinkhorn()._solve(
        Linear(PointCloud(problem.geometry.x.double(), problem.geometry.y.double()), epsilon=problem.epsilon.double())
    )
    torch.testing.assert_close(solution.coupling.dense().double(), double.coupling.dense(), atol=1e-6, rtol=1e-2)


def test_an_epsilon_finer_than_the_dtype_warns():
    x = torch.linspace(0, 1, 30)[:, None]
    problem = Linear(PointCloud(1e3 * x, 1e3 * x.flip(0) + 1), epsilon=1e-2)
    with pytest.warns(PrecisionWarning, match="use float64"):
        solution = Sinkhorn()._solve(problem)
    assert solution.report.status is Status.PRECISION


def test_the_report_says_when_iterations_ran_out():
    solution = solved(Linear(clouds(60, 60, 2), epsilon=relative(0.001)), max_iter=5)
    assert solution.report.status is Status.MAX_ITER
    assert not solution.report.status.ok
    row, col = solution.coupling.marginals()
    error = (row - 1 / 60).abs().sum() + (col - 1 / 60).abs().sum()
    assert float(solution.report.marginal_error) == pytest.approx(float(error))


def test_capability():
    problem = Linear(CostMatrix(torch.rand(4, 3, dtype=D)))
    refused = Sinkhorn().supports(problem)
    assert not refused.supported
    assert "positive epsilon" in refused.reason
    assert Sinkhorn().supports(Linear(problem.geometry, epsilon=0.1)).supported


class Counted(TorchDispatchMode):
    """How often torch is asked for exponentials, logarithms and roots, for which it wakes its threads."""

    calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls += function in (torch.ops.aten.exp.default, torch.ops.aten.log.default, torch.ops.aten.sqrt.default)
        return function(*args, **(kwargs or {}))


def test_iterations_stay_on_their_thread():
    found, problem = {}, Linear(clouds(40, 50, 2), epsilon=0.01)
    for iterations in (20, 60):
        with Counted() as seen:
            solved(problem, tol=1e-12, max_iter=iterations)
        found[iterations] = seen.calls
    assert found[20] == found[60]
