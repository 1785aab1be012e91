"""Approximate solvers: exact marginals, never cheaper than the optimum, and a bound that holds."""

from __future__ import annotations

import math

import pytest
import torch

from draws import cloud, draw, generator
from monge import Linear, solve
from monge.coupling import FactoredCoupling, PermutationCoupling
from monge.errors import CapabilityError, InfeasibleError, InputError
from monge.geometry import CostMatrix, LowRankCost, PointCloud
from monge.problem import AtMost
from monge.solver import Assignment, Auto, Grouped, LowRank, Simplex, Status
from monge.testing import LargestTensor
from sweep import sweep

D = torch.float64


def _cloud_problem(seed, *, equal):
    source = generator(seed)

    def between(low, high):
        return int(torch.randint(low, high, (1,), generator=source))

    n, d = between(4, 40), between(1, 5)
    m = n if equal else between(4, 40)
    x, y = (torch.randn(size, d, generator=source, dtype=D) for size in (n, m))
    x, y = (x.round(), y.round()) if seed % 5 == 1 else (x, y)  # ties and duplicates
    x, y = (1e4 * x + 3e5, 1e4 * y + 3e5) if seed % 5 == 2 else (x, y)
    x, y = (1e-4 * x, 1e-4 * y) if seed % 5 == 3 else (x, y)
    cost = ("sqeuclidean", "euclidean", "cityblock", "dot")[seed % 4]
    if equal:
        return Linear(PointCloud(x, y, cost))
    a, b = (torch.rand(size, generator=source, dtype=D) for size in (n, m))
    a[0] = 0
    return Linear(PointCloud(x, y, cost), a / a.sum(), b / b.sum())


def _checked(problem, solution, optimum, seed):
    a, b = problem.a, problem.b
    row, col = solution.coupling.marginals()
    scale = float(problem.geometry.dense().abs().max()) + 1e-300
    assert float((row - a).abs().sum() + (col - b).abs().sum()) < 1e-12, seed
    assert float(solution.value) >= float(optimum) - 1e-12 * scale, seed
    bound = float(solution.value - solution.report.duality_gap)
    assert bound <= float(optimum) + 1e-12 * scale, seed
    assert solution.report.status in (Status.OPTIMAL, Status.APPROXIMATE), seed


class TestGenerated:
    @sweep(default=12)
    def test_a_bijection_lies_between_the_optimum_and_its_bound(self, seeds):
        for seed in seeds:
            problem = _cloud_problem(seed, equal=True)
            found = solve(problem, Grouped(group=2 + seed % 7, max_iter=4, seed=seed))
            _checked(problem, found, solve(problem, Assignment()).value, seed)

    @sweep(default=12)
    def test_a_low_rank_lies_between_the_optimum_and_its_bound(self, seeds):
        for seed in seeds:
            problem = _cloud_problem(seed, equal=False)
            found = solve(problem, LowRank(rank=1 + seed % 4, max_iter=8, seed=seed))
            _checked(problem, found, solve(problem, Simplex()).value, seed)


class TestGrouped:
    def test_one_group_is_exact_and_proved(self):
        problem = Linear(PointCloud(cloud(30), cloud(30, seed=1)))
        found = solve(problem, Grouped(group=30))
        assert found.report.status is Status.OPTIMAL
        torch.testing.assert_close(found.value, solve(problem, Assignment()).value)

    @pytest.mark.parametrize("n", [2, 3, 31, 97])
    def test_every_number_of_points_gives_a_bijection(self, n):
        found = solve(Linear(PointCloud(cloud(n), cloud(n, seed=1))), Grouped(group=2))
        assert isinstance(found.coupling, PermutationCoupling)
        assert found.coupling.perm.sort().values.tolist() == list(range(n))

    def test_more_passes_are_never_dearer(self):
        problem = Linear(PointCloud(cloud(300, 5), cloud(300, 5, seed=1)))
        values = [float(solve(problem, Grouped(group=16, max_iter=k, tol=0.0)).value) for k in (1, 2, 4, 8, 16)]
        assert values == sorted(values, reverse=True)

    @pytest.mark.parametrize("d", [3, 16, 64])
    def test_it_is_within_two_per_cent_of_the_optimum(self, d):
        problem = Linear(PointCloud(cloud(1024, d).float(), cloud(1024, d, seed=1).float()))
        exact = solve(problem, Assignment()).value
        assert float(solve(problem, Grouped(max_iter=30)).value) < 1.02 * float(exact)

    def test_single_precision_proves_no_more_than_is_true(self):
        x, y = cloud(400, 16).float() + 30, cloud(400, 16, seed=1).float() + 30
        found = solve(Linear(PointCloud(x, y)), Grouped(group=32, max_iter=5))
        exact = solve(Linear(PointCloud(x.double(), y.double())), Assignment()).value
        assert float(found.value.double() - found.report.duality_gap.double()) <= float(exact)

    def test_a_batch_equals_its_problems(self):
        x, y = draw(2, 40, 3), draw(2, 40, 3, seed=1)
        batch = solve(Linear(PointCloud(x, y)), Grouped(group=8, max_iter=3))
        for k in range(2):
            single = solve(Linear(PointCloud(x[k], y[k])), Grouped(group=8, max_iter=3))
            assert batch.coupling.pair()[1][k].tolist() == single.coupling.pair()[1].tolist()
            torch.testing.assert_close(batch.report.duality_gap[k], single.report.duality_gap)

    def test_nothing_of_the_size_of_all_pairs(self):
        n = 20_000
        problem = Linear(PointCloud(draw(n, 2, dtype=torch.float32), draw(n, 2, seed=1, dtype=torch.float32)))
        with LargestTensor() as largest:
            solve(problem, Grouped(group=16, max_iter=1))
        assert largest.numbers <= n * n / 8

    def test_the_value_moves_with_the_points(self):
        x, y = cloud(20).requires_grad_(), cloud(20, seed=1)
        found = solve(Linear(PointCloud(x, y)), Grouped(group=4))
        (gradient,) = torch.autograd.grad(found.value, x)
        torch.testing.assert_close(gradient, 2 * (x - y[found.coupling.pair()[1]]) / 20)

    def test_forbidden_pairs_are_refused(self):
        def cost(x, y):
            return torch.full_like((x - y).sum(-1), math.inf)

        with pytest.raises(InfeasibleError, match="Grouped needs finite costs"):
            solve(Linear(PointCloud(cloud(20), cloud(20, seed=1), cost)), Grouped(group=4))


class TestLowRank:
    def test_rank_one_is_independence(self):
        problem = _cloud_problem(4, equal=False)
        found = solve(problem, LowRank(rank=1))
        torch.testing.assert_close(found.coupling.dense(), problem.a[:, None] * problem.b)

    def test_more_pivots_are_cheaper(self):
        problem = Linear(PointCloud(cloud(80), cloud(70, seed=1)))
        values = [float(solve(problem, LowRank(rank=r)).value) for r in (1, 3, 10, 30)]
        assert values == sorted(values, reverse=True)

    def test_factors_of_a_cost_change_nothing(self):
        A, B = draw(30, 4), draw(25, 4, seed=1)
        found = [solve(Linear(cost), LowRank(rank=4)) for cost in (LowRankCost(A, B), CostMatrix(A @ B.T))]
        assert isinstance(found[0].coupling, FactoredCoupling)
        torch.testing.assert_close(found[0].value, found[1].value)

    def test_a_plan_of_low_rank_is_found(self):
        # Two far clusters of one point each, with copies: the optimum has rank two.
        x = torch.tensor([[0.0], [10.0]], dtype=D).repeat_interleave(torch.tensor([8, 4]), 0)
        y = torch.tensor([[1.0], [11.0]], dtype=D).repeat_interleave(torch.tensor([4, 2]), 0)
        torch.testing.assert_close(solve(Linear(PointCloud(x, y)), LowRank(rank=2)).value, torch.tensor(1.0, dtype=D))

    def test_it_is_no_dearer_than_the_low_rank_of_pot(self):
        ot = pytest.importorskip("ot")
        x, y = cloud(120), cloud(120, seed=1)
        Q, R, g = (
            torch.from_numpy(part)
            for part in ot.lowrank_sinkhorn(x.numpy(), y.numpy(), rank=10, init="kmeans", seed_init=0, warn=False)
        )
        theirs = (Q / g @ R.T * PointCloud(x, y).dense()).sum()
        assert float(solve(Linear(PointCloud(x, y)), LowRank(rank=10)).value) < 1.02 * float(theirs)

    def test_nothing_of_the_size_of_all_pairs(self):
        n = 20_000
        problem = Linear(PointCloud(draw(n, 2, dtype=torch.float32), draw(n, 2, seed=1, dtype=torch.float32)))
        with LargestTensor() as largest:
            solve(problem, LowRank(rank=3, max_iter=2))
        assert largest.numbers <= n * n / 8

    def test_forbidden_pairs_are_refused(self):
        cost = torch.ones(4, 4, dtype=D)
        cost[0, 0] = math.inf
        with pytest.raises(InfeasibleError, match="LowRank needs finite costs"):
            solve(Linear(CostMatrix(cost)), LowRank(rank=2))

    def test_more_pivots_than_points_are_refused(self):
        with pytest.raises(CapabilityError, match="needs at least 9 points a side"):
            solve(Linear(PointCloud(cloud(5), cloud(9, seed=1))), LowRank(rank=9))


@pytest.mark.parametrize("solver", [Grouped(group=4), LowRank(rank=2)], ids=["grouped", "low-rank"])
class TestBoth:
    def test_they_are_never_chosen_for_somebody(self, solver):
        problem = Linear(PointCloud(cloud(10), cloud(10, seed=1)))
        assert solver.supports(problem).cost == math.inf
        with pytest.raises(CapabilityError):
            Auto(candidates=(solver,)).resolve(problem)

    def test_the_same_seed_gives_the_same_plan(self, solver):
        problem = Linear(PointCloud(cloud(30), cloud(30, seed=1)))
        first, second = (solve(problem, solver).coupling.dense() for _ in range(2))
        assert torch.equal(first, second)

    def test_weights_with_gradients_are_refused(self, solver):
        a = torch.full((10,), 0.1, dtype=D, requires_grad=True)
        with pytest.raises(InputError, match="not differentiated by weights"):
            solve(Linear(PointCloud(cloud(10), cloud(10, seed=1)), a), solver)

    def test_a_mass_is_refused(self, solver):
        a = torch.full((10,), 0.1, dtype=D)
        problem = Linear(PointCloud(cloud(10), cloud(10, seed=1)), AtMost(a), AtMost(a), mass=0.5)
        with pytest.raises(CapabilityError, match="two Fixed marginals"):
            solve(problem, solver)

    @pytest.mark.parametrize("wrong", [{"max_iter": 0}, {"tol": -1.0}, {"seed": -1}])
    def test_settings_out_of_range_are_refused(self, solver, wrong):
        with pytest.raises(InputError, match=next(iter(wrong))):
            type(solver)(**wrong)

    def test_identical_points_cost_nothing(self, solver):
        x = torch.ones(12, 2, dtype=D)
        found = solve(Linear(PointCloud(x, x)), solver)
        assert float(found.value.abs()) < 1e-12
        assert float(found.report.duality_gap) < 1e-12
