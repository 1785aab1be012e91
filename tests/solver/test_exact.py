"""What all exact solvers promise: the value of the linear program, and potentials that prove it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from monge.coupling import MonotoneCoupling, PermutationCoupling, SparseCoupling
from monge.geometry import CostMatrix, Line, PointCloud
from monge.problem import Linear
from monge.solver import Assignment, Auto, Simplex, Solver, Sorted, Status, solve

from .oracles import cloud, transport_value, weights

CLOUDS = ("normal", "integer", "twice")
WEIGHTS = ("random", "equal", "zeros")


def check(problem: Linear, solver: Solver, expected: float | None = None) -> None:
    """Value to 1e-9, marginals, feasibility, slackness and a small gap."""
    solution = solve(problem, solver)
    a, b, cost = problem.a, problem.b, problem.geometry.dense()
    expected = transport_value(cost, a, b) if expected is None else expected
    size = float(cost[cost.isfinite()].abs().max() * a.sum())
    assert solution.value.item() == pytest.approx(expected, rel=1e-9, abs=1e-14 * size)
    assert solution.report.status is Status.OPTIMAL
    assert solution.report.duality_gap.item() <= 1e-9 * max(abs(expected), 1e-6 * size)
    row, col = solution.coupling.marginals()
    torch.testing.assert_close(row, a, rtol=0, atol=1e-12 * float(a.sum()))
    torch.testing.assert_close(col, b, rtol=0, atol=1e-12 * float(a.sum()))
    slack = cost - solution.f[:, None] - solution.g
    assert slack.min() >= -1e-12 * size / float(a.sum())
    plan = solution.coupling.dense()
    assert torch.where(plan > 0, slack, 0).abs().max() <= 1e-11 * size / float(a.sum())
    left, right = (a * solution.f).sum(), (b * solution.g).sum()
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-12 * size)


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (6, 1), (5, 5), (8, 13), (24, 17)])
def test_simplex_is_exact(kind: str, weight: str, n: int, m: int) -> None:
    for seed, (d, cost) in enumerate(itertools.product((1, 3), ("sqeuclidean", "cityblock"))):
        x, y = cloud(n, d, seed, kind=kind), cloud(m, d, seed + 50, kind=kind)
        a, b = weights(n, seed, kind=weight), weights(m, seed + 9, kind=weight)
        check(Linear(PointCloud(x, y, cost), a, b), Simplex())


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("n", [1, 2, 9, 25])
def test_assignment_is_exact(kind: str, n: int) -> None:
    for seed, (d, cost) in enumerate(itertools.product((1, 2, 12), ("sqeuclidean", "euclidean"))):
        x, y = cloud(n, d, seed, kind=kind), cloud(n, d, seed + 50, kind=kind)
        check(Linear(PointCloud(x, y, cost)), Assignment())


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (7, 1), (9, 9), (14, 11)])
def test_sorting_is_exact(kind: str, weight: str, n: int, m: int) -> None:
    for seed, p in enumerate((1.0, 1.5, 2.0, 4.0)):
        x, y = cloud(n, 1, seed, kind=kind), cloud(m, 1, seed + 50, kind=kind)
        a, b = weights(n, seed, kind=weight), weights(m, seed + 9, kind=weight)
        check(Linear(Line(x[:, 0], y[:, 0], p), a, b), Sorted())


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("mass", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("solver", [Simplex(), Sorted(), Assignment()])
def test_scales(scale: float, mass: float, solver: Solver) -> None:
    x, y = cloud(9, 1, 0, scale=scale), cloud(9, 1, 1, scale=scale)
    kind = "equal" if solver.__class__ is Assignment else "random"
    a, b = weights(9, 0, kind=kind, mass=mass), weights(9, 1, kind=kind, mass=mass)
    check(Linear(PointCloud(x, y), a, b), solver)


@pytest.mark.parametrize("solver", [Simplex(), Sorted(), Assignment()])
def test_far_from_the_origin(solver: Solver) -> None:
    x, y = cloud(12, 1, 0) + 1e6, cloud(12, 1, 1) + 1e6
    check(Linear(PointCloud(x, y)), solver)


@pytest.mark.parametrize("name", ["sqeuclidean", "euclidean", "cityblock", "chebyshev", "dot"])
def test_every_norm_and_the_product_can_be_sorted(name: str) -> None:
    x, y = cloud(11, 1, 0), cloud(8, 1, 1)
    check(Linear(PointCloud(x, y, name), weights(11, 0), weights(8, 1)), Sorted())
    check(Linear(PointCloud(cloud(9, 1, 2), cloud(9, 1, 3), name)), Sorted())


def test_concave_costs_are_not_sorted() -> None:
    geometry = PointCloud(cloud(6, 1, 0), cloud(6, 1, 1), "euclidean", power=0.5)
    assert not Sorted().supports(Linear(geometry)).supported
    check(Linear(geometry), Auto())


def test_forbidden_pairs_are_avoided() -> None:
    for seed in range(20):
        cost = torch.rand(7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        cost[(cost > 0.6) & ~torch.eye(7, dtype=torch.bool)] = math.inf
        check(Linear(CostMatrix(cost)), Simplex())
        check(Linear(CostMatrix(cost)), Assignment())


def test_hundreds_of_small_problems() -> None:
    """The certificates never lie, whatever the ties."""
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        n, m = (int(k) for k in torch.randint(1, 8, (2,), generator=generator))
        cost = torch.randint(-3, 4, (n, m), generator=generator).double()
        a = torch.randint(0, 3, (n,), generator=generator).double()
        b = torch.randint(0, 3, (m,), generator=generator).double()
        a[0], b[0] = a[0] + 1, b[0] + 1
        check(Linear(CostMatrix(cost), a / a.sum(), b / b.sum()), Simplex())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_lower_precision_is_solved_in_float64(dtype: torch.dtype) -> None:
    x, y = cloud(15, 2, 0).to(dtype), cloud(15, 2, 1).to(dtype)
    for solver in (Simplex(), Assignment()):
        solution = solve(Linear(PointCloud(x, y)), solver)
        exact = solve(Linear(PointCloud(x.double(), y.double())), solver)
        assert solution.value.dtype == solution.f.dtype == solution.coupling.dtype == dtype
        torch.testing.assert_close(solution.value.double(), exact.value, rtol=2 * torch.finfo(dtype).eps, atol=0)
        assert solution.report.status is Status.OPTIMAL
        assert solution.report.duality_gap.item() < 1e-6


BATCHES = [
    (Simplex(), SparseCoupling, (8, 6)),
    (Assignment(), PermutationCoupling, (7, 7)),
    (Sorted(), MonotoneCoupling, (8, 6)),
    (Sorted(), PermutationCoupling, (7, 7)),
]


@pytest.mark.parametrize(("solver", "kind", "shape"), BATCHES)
def test_a_batch_is_a_loop(solver: Solver, kind: type, shape: tuple[int, int]) -> None:
    n, m = shape
    x = torch.stack([cloud(n, 1, k) for k in range(6)]).reshape(2, 3, n, 1)
    y = torch.stack([cloud(m, 1, k + 40) for k in range(3)])
    together = solve(Linear(PointCloud(x, y)), solver)
    assert type(together.coupling) is kind
    assert together.coupling.shape == (2, 3, n, m)
    assert together.value.shape == together.report.duality_gap.shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        alone = solve(Linear(PointCloud(x[i, j], y[j])), solver)
        torch.testing.assert_close(together.value[i, j], alone.value, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(together.coupling[i, j].dense(), alone.coupling.dense(), rtol=0, atol=1e-14)
        torch.testing.assert_close(together.f[i, j], alone.f, rtol=1e-9, atol=1e-9)


def test_weights_alone_may_be_the_batch() -> None:
    x, y = cloud(6, 2, 0), cloud(5, 2, 1)
    a = torch.stack([weights(6, k) for k in range(4)])
    for solver, geometry in ((Simplex(), PointCloud(x, y)), (Sorted(), Line(x[:, 0], y[:, 0]))):
        together = solve(Linear(geometry, a, weights(5, 7)), solver)
        assert together.value.shape == (4,)
        for k in range(4):
            alone = solve(Linear(geometry, a[k], weights(5, 7)), solver)
            torch.testing.assert_close(together.value[k], alone.value)


@pytest.mark.parametrize(("solver", "m"), [(Simplex(), 4), (Sorted(), 4), (Sorted(), 5), (Assignment(), 5)])
def test_gradients_of_values(solver: Solver, m: int) -> None:
    x, y = cloud(5, 1, 3).requires_grad_(), cloud(m, 1, 4).requires_grad_()

    def value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return solve(Linear(PointCloud(x, y, "euclidean", power=1.5)), solver).value

    assert torch.autograd.gradcheck(value, (x, y))


@pytest.mark.parametrize("solver", [Simplex(), Sorted()])
def test_gradients_by_weights_are_potentials(solver: Solver) -> None:
    x, y = cloud(5, 1, 3), cloud(4, 1, 4)
    a, b = weights(5, 0).requires_grad_(), weights(4, 1).requires_grad_()

    def value(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return solve(Linear(PointCloud(x, y), a / a.sum(), b / b.sum()), solver).value

    assert torch.autograd.gradcheck(value, (a, b))


def test_a_staircase_moves_with_its_weights() -> None:
    x, y = cloud(5, 1, 3), cloud(4, 1, 4)
    a, b = weights(5, 0).requires_grad_(), weights(4, 1).requires_grad_()

    def means(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        plan = solve(Linear(PointCloud(x, y), a / a.sum(), b / b.sum()), Sorted()).coupling
        return plan @ y

    assert torch.autograd.gradcheck(means, (a, b))


def test_bijections_are_constants() -> None:
    x, y = cloud(5, 1, 3).requires_grad_(), cloud(5, 1, 4)
    for solver in (Assignment(), Sorted()):
        assert not solve(Linear(PointCloud(x, y)), solver).coupling.weights.requires_grad


def test_masked_points_change_nothing() -> None:
    x, y = cloud(7, 1, 0), cloud(6, 1, 1)
    a, b = weights(7, 0), weights(6, 1)
    far = torch.full((2, 1), 1e3, dtype=torch.float64)
    nothing = torch.zeros(2, dtype=torch.float64)
    for solver in (Simplex(), Sorted()):
        plain = solve(Linear(PointCloud(x, y), a, b), solver)
        geometry = PointCloud(torch.cat([far, x]), torch.cat([y, far]))
        padded = solve(Linear(geometry, torch.cat([nothing, a]), torch.cat([b, nothing])), solver)
        torch.testing.assert_close(plain.value, padded.value, rtol=1e-12, atol=0)
        torch.testing.assert_close(plain.coupling.dense(), padded.coupling.dense()[2:, :6], rtol=0, atol=1e-15)
