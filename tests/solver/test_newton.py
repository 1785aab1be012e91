"""Newton's method: where it must agree with Sinkhorn, and where Sinkhorn cannot follow."""

from __future__ import annotations

import ot
import pytest
import torch
from linear_problems import PROBLEMS, D, clouds, weights

from monge.dual import _operators
from monge.geometry import CostMatrix, PointCloud
from monge.gradient import Unrolled
from monge.problem import Linear, Relaxed, relative
from monge.solver import Newton, Sinkhorn, Status, _newton_direction, _newton_loop
from monge.solver._loop import Goal
from sweep import sweep


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


def hard_batch(seed):
    """Clouds, random weights or histograms with tails of no mass; epsilon down to a millionth of the mean cost."""
    rng = torch.Generator().manual_seed(seed)
    kind = ("uniform", "random", "histograms")[seed % 3]
    n, batch = (20, 40, 60)[seed // 3 % 3], (1, 2, 3)[seed // 9 % 3]
    m = n + 5
    share = 10 ** -(2 + 4 * float(torch.rand((), generator=rng)))
    if kind == "histograms":
        x, y = torch.linspace(-1, 2, n, dtype=D)[:, None], torch.linspace(-1, 2, m, dtype=D)[:, None]
        centre = torch.rand(2, batch, 1, generator=rng, dtype=D) * 0.4
        width = 0.15 + 0.1 * torch.rand(2, batch, 1, generator=rng, dtype=D)
        a = torch.exp(-(((x[:, 0] - centre[0]) / width[0]) ** 2) / 2)
        b = torch.exp(-(((y[:, 0] - centre[1]) / width[1]) ** 2) / 2)
        geometry = PointCloud(x.expand(batch, n, 1), y.expand(batch, m, 1))
    else:
        x, y = (torch.randn(batch, k, 3, generator=rng, dtype=D) for k in (n, m))
        geometry = PointCloud(x, 1.2 * y + 0.3)
        a, b = (torch.rand(batch, k, generator=rng, dtype=D) ** 2 + 1e-6 for k in (n, m))
        if kind == "uniform":
            a, b = torch.ones_like(a), torch.ones_like(b)
    a, b = (w / w.sum(-1, keepdim=True) for w in (a, b))
    return kind, Linear(geometry, a, b, epsilon=relative(share))


@pytest.mark.filterwarnings("ignore::monge.errors.PrecisionWarning")  # rounding may be foretold; it is measured here
@sweep(9, slow=10_000)
def test_small_epsilon_in_batches(seeds):
    """Marginals are met in float64 to 1e-8, and in each problem of a batch as if it were alone."""
    for seed in seeds:
        kind, problem = hard_batch(seed)
        solution = Newton()._solve(problem)
        plan = solution.coupling.dense()
        error = (plan.sum(-1) - problem.a).abs().sum(-1) + (plan.sum(-2) - problem.b).abs().sum(-1)
        told = f"seed {seed}: {kind}, {problem!r}, {solution.report!r}"
        if kind == "histograms" and solution.report.status is Status.MAX_ITER:
            # Blocks that hang together by a mass far below rounding may take more sweeps than there are; it says so.
            torch.testing.assert_close(solution.report.marginal_error, error, atol=1e-10, rtol=1e-3)
            continue
        assert solution.report.status is not Status.MAX_ITER, told
        assert (error <= 1e-8).all(), f"{told}: true error {error.tolist()}"
        k = seed % problem.batch_shape[0]
        alone = Newton()._solve(problem._select((torch.tensor(k),)))
        if alone.report.status is Status.MAX_ITER:
            continue
        assert (alone.coupling.dense() - plan[k]).abs().sum() < 1e-4, told
        assert abs(float(alone.value - solution.value[k])) <= 1e-7, told


def test_equal_problems_of_a_batch_have_equal_answers():
    x, y = torch.linspace(-1, 2, 60, dtype=D), torch.linspace(-1, 2, 57, dtype=D)
    a, b = torch.exp(-(((x / 0.158) ** 2) / 2)), torch.exp(-((((y - 0.1) / 0.158) ** 2) / 2))
    cost = ((x[:, None] - y) ** 2).expand(3, 60, 57)
    solution = Newton()._solve(Linear(CostMatrix(cost), a / a.sum(), b / b.sum(), epsilon=1e-3))
    assert solution.report.status is Status.CONVERGED
    assert solution.value.tolist() == pytest.approx([float(solution.value[0])] * 3, rel=1e-9)
    assert float(solution.value[0]) == pytest.approx(0.0124, abs=2e-4)
    torch.testing.assert_close(solution.coupling.dense()[0], solution.coupling.dense()[2], atol=1e-10, rtol=1e-7)


def test_rows_that_are_nearly_equal():
    cost = torch.rand(1, 5) + 1e-4 * torch.rand(3, 5)
    solution = Newton(tol=1e-3)._solve(Linear(CostMatrix(cost), epsilon=relative(1e-3)))
    assert solution.report.status is Status.CONVERGED
    assert float(solution.f.abs().max()) < 1.0
    assert float(solution.g.abs().max()) < 1.0


def test_a_price_far_above_epsilon():
    a, b = weights(20), 1.7 * weights(15)
    source, target = Relaxed(a, 30.0, "tv"), Relaxed(b, 30.0, "tv")
    problem = Linear(CostMatrix(torch.rand(20, 15, dtype=D)), source, target, epsilon=0.05)
    for solver in (Newton(), Sinkhorn()):
        solution = solver._solve(problem)
        assert solution.report.status is Status.CONVERGED
        assert int(solution.report.iterations) < 100
        assert float(solution.report.duality_gap) == pytest.approx(0.0, abs=1e-6)


def test_a_stalled_problem_goes_on_by_ascent(monkeypatch):
    monkeypatch.setattr(_newton_loop, "_STALLED", 2)
    problem = Linear(clouds(40, 40, 2), epsilon=relative(0.02))
    solution = Newton(tol=1e-6)._solve(problem)
    assert solution.report.status is Status.CONVERGED
    assert float(solution.coupling.marginals()[0].sub(1 / 40).abs().sum()) < 1e-6


def test_sparse_stored_and_streamed_plans_lead_to_one_solution(monkeypatch):
    x, y = torch.randn(2, 60, 3, dtype=D), torch.randn(2, 50, 3, dtype=D)
    problem = Linear(PointCloud(x, y), epsilon=relative(0.005))
    made = []
    of = _operators.SparseOperator.of
    monkeypatch.setattr(_operators.SparseOperator, "of", lambda *parts: made.append(1) or of(*parts))
    monkeypatch.setattr(_newton_direction, "_FEW_ENTRIES", 0)
    sparse = solved(problem).coupling.dense()
    assert made
    monkeypatch.setattr(_newton_direction.StreamedOperator, "sparse", lambda self, threshold: None)
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


def test_half_way_back_to_the_level_before_follows_the_line_from_there():
    x = torch.rand(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = Linear(PointCloud(x, x.flip(0)), epsilon=0.1)
    one = torch.ones((), dtype=torch.float64)
    loop = _newton_loop._NewtonLoop(problem, torch.zeros(6, dtype=torch.float64), one, Goal(1e-9 * one, 1e-12 * one))
    loop.before, loop.drift, loop.gradient, image = torch.randn(4, 6, dtype=torch.float64).unbind()
    loop.epsilon, loop.level_age = 0.4 * one, torch.tensor(_newton_loop._LOST + 1)
    start, elsewhere = loop._continued(image, torch.tensor(False))
    assert bool(elsewhere)
    epsilon = torch.tensor(0.4, dtype=torch.float64).sqrt()
    torch.testing.assert_close(loop.epsilon, epsilon)
    torch.testing.assert_close(start, epsilon * (loop.before + (1 / epsilon - 1) * loop.drift))
