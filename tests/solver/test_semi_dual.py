"""Transport with a quadratic penalty and few nonzeros a column."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import monge
from draws import cloud, generator
from monge import Linear
from monge.coupling import DenseCoupling
from monge.errors import InfeasibleError, InputError
from monge.geometry import CostMatrix, PointCloud
from monge.problem import AtMost, SparseLinear
from monge.solver import DualSolution, SemiDual, Simplex, Status
from sweep import sweep

D = torch.float64


def solve(problem, solver=None) -> DualSolution:
    """The solution, which has potentials."""
    found = monge.solve(problem, solver)
    assert isinstance(found, DualSolution)
    return found


def _problem(seed, n, m, nonzeros=None, epsilon=0.4):
    source = generator(seed)
    cost = torch.rand(n, m, generator=source, dtype=D)
    a, b = (torch.rand(size, generator=source, dtype=D) + 0.2 for size in (n, m))
    return SparseLinear(Linear(CostMatrix(cost), a / a.sum(), b / b.sum(), epsilon=epsilon), nonzeros)


def _least(problem):
    """The least objective over all supports, each a quadratic program."""
    n, m = problem.shape
    cost, gamma = problem.geometry.dense().numpy(), float(problem.strength)
    best = math.inf
    for chosen in product(combinations(range(n), problem.nonzeros), repeat=m):
        places = [(i, j) for j, rows in enumerate(chosen) for i in rows]
        sums = np.zeros((n + m, len(places)))
        for k, (i, j) in enumerate(places):
            sums[i, k] = sums[n + j, k] = 1
        if np.any(sums[:n].sum(1) == 0):
            continue
        wanted = np.concatenate([problem.a.numpy(), problem.b.numpy()])
        c = np.array([cost[place] for place in places])
        found = minimize(
            lambda w, c=c: c @ w + gamma / 2 * w @ w,
            np.full(len(places), 1 / len(places)),
            jac=lambda w, c=c: c + gamma * w,
            bounds=[(0, None)] * len(places),
            constraints={
                "type": "eq",
                "fun": lambda w, s=sums, t=wanted: (s @ w - t)[:-1],
                "jac": lambda w, s=sums: s[:-1],
            },
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 200},
        )
        if found.success and np.abs(sums @ found.x - wanted).max() < 1e-8:
            best = min(best, found.fun)
    return best


class TestGenerated:
    @sweep(default=15)
    def test_columns_are_exact_and_sparse_and_the_bound_holds(self, seeds):
        for seed in seeds:
            n, m = 3 + seed % 6, 8 - seed % 5
            k = None if seed % 3 == 0 else 1 + max(seed % 4, n // m)
            problem = _problem(seed, n, m, k)
            found = solve(problem, SemiDual(max_iter=80))
            row, col = found.coupling.marginals()
            matrix = found.coupling.dense()
            assert float((col - problem.b).abs().max()) < 1e-12, seed
            assert int((matrix > 0).sum(0).max()) <= (k or n), seed
            error = float((row - problem.a).abs().sum() + (col - problem.b).abs().sum())
            assert abs(error - float(found.report.marginal_error)) < 1e-10, seed
            assert (found.report.status is Status.CONVERGED) == (error <= 1e-6 + 1e-12), seed
            if k is None:
                assert error <= 1e-6, seed
                optimum = float(solve(problem.linear._replace(epsilon=torch.zeros((), dtype=D)), Simplex()).value)
                assert float(found.coupling.transport_cost(problem.geometry)) >= optimum - 2e-6, seed
            vertex = solve(problem.linear._replace(epsilon=torch.zeros((), dtype=D)), Simplex()).coupling
            if k is None or int((vertex.dense() > 0).sum(0).max()) <= k:
                assert float(problem.dual(found.f, found.g)) <= float(problem.primal(vertex)) + 1e-10, seed


class TestSparse:
    @pytest.mark.parametrize("seed", range(4))
    def test_the_dual_lies_below_the_best_of_all_supports(self, seed):
        problem = _problem(seed, 3, 3, nonzeros=2)
        best, found = _least(problem), solve(problem)
        assert math.isfinite(best)
        assert float(problem.dual(found.f, found.g)) <= best + 1e-8
        if found.report.status is Status.CONVERGED:
            assert abs(float(found.value) - best) < 1e-5

    def test_a_limit_of_all_rows_is_none(self):
        limited, free = (solve(_problem(0, 6, 5, k)) for k in (6, None))
        torch.testing.assert_close(limited.coupling.dense(), free.coupling.dense(), atol=1e-6, rtol=0)

    def test_the_plan_without_a_limit_has_the_quadratic_form(self):
        problem = _problem(1, 7, 6)
        found = solve(problem, SemiDual(tol=1e-9))
        room = found.f[:, None] + found.g - problem.geometry.dense()
        torch.testing.assert_close(found.coupling.dense(), room.clamp_min(0) / problem.strength, atol=1e-8, rtol=0)
        assert float(found.report.duality_gap) < 1e-7

    def test_the_dual_rises_with_the_sharper_limit(self):
        bounds = [float(problem.dual(found.f, found.g)) for problem, found in (
            (problem, solve(problem)) for problem in (_problem(2, 8, 8, k) for k in (1, 2, 4, 8)))]  # fmt: skip
        assert bounds == sorted(bounds, reverse=True)

    def test_points_without_weight_are_absent(self):
        x, y, a = cloud(5), cloud(4, seed=1), torch.tensor([0.5, 0.0, 0.2, 0.3, 0.0], dtype=D)
        padded, small = (
            solve(SparseLinear(Linear(PointCloud(points, y), weights, epsilon=0.5)))
            for points, weights in ((x, a), (x[a > 0], a[a > 0]))
        )
        torch.testing.assert_close(padded.value, small.value)
        torch.testing.assert_close(padded.report.duality_gap, small.report.duality_gap, atol=1e-6, rtol=0)

    def test_a_plan_with_too_many_nonzeros_is_refused_by_the_objective(self):
        problem = _problem(0, 4, 4, nonzeros=2)
        assert problem.primal(DenseCoupling(problem.a[:, None] * problem.b)) == math.inf

    def test_wrong_problems_are_refused(self):
        linear, a = _problem(0, 3, 3).linear, torch.full((3,), 1 / 3, dtype=D)
        with pytest.raises(InputError, match="epsilon must be positive"):
            SparseLinear(Linear(linear.geometry))
        with pytest.raises(InputError, match="two Fixed marginals"):
            SparseLinear(Linear(linear.geometry, AtMost(a), AtMost(a), epsilon=1.0, mass=0.5))
        with pytest.raises(InputError, match="nonzeros"):
            SparseLinear(linear, 0)
        with pytest.raises(InfeasibleError, match="fewer than the 9 rows"):
            solve(_problem(0, 9, 3, nonzeros=2))
        forbidden = torch.tensor([[math.inf, 1.0], [1.0, 0.0]], dtype=D)
        with pytest.raises(InfeasibleError, match="SemiDual needs finite costs"):
            solve(SparseLinear(Linear(CostMatrix(forbidden), epsilon=1.0)))
