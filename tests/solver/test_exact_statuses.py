"""What an exact solver calls optimal is: proved in rational arithmetic, whatever the scale, the ties and the dtype."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from monge.errors import NotConvergedError
from monge.geometry import CostMatrix, PointCloud
from monge.problem import Linear
from monge.solver import Auto, Simplex, Sinkhorn, Status, solve
from sweep import sweep

D = torch.float64


def hard(kind: str, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Costs and weights of one problem, in float64."""

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=D)

    n, m = (int(k) for k in torch.randint(1, 7, (2,), generator=generator))
    square = bool(torch.randint(0, 2, (1,), generator=generator))
    m = n if square else m
    cost, a, b = rand(n, m), rand(n) + 0.01, rand(m) + 0.01
    if kind == "scale":
        cost = (cost - 0.3) * 10.0 ** (600 * float(rand(1)) - 300)
    elif kind == "nearly equal":
        cost = torch.randint(0, 9, (n, m), generator=generator).double() * 2.0**-12 + 2.0**40 * (1 if square else -1)
        cost = cost + torch.randint(0, 9, (n, 1), generator=generator).double() * 2.0**35
    elif kind == "masses":
        a, b, cost = 10.0 ** (-12 * rand(n)), 10.0 ** (-12 * rand(m)), 10.0 ** (6 * cost)
    if square and kind != "masses":
        a, b = torch.ones(n, dtype=D), torch.ones(n, dtype=D)
    return cost, a / a.sum(), b / b.sum()


def excess(cost: torch.Tensor, plan: torch.Tensor) -> float:
    """By how much a plan is worse than the best with its marginals, as a share of its costs' spread: no cycle of its
    residual graph is negative, after Bellman, Ford and Moore, without rounding."""
    n, m = cost.shape
    exact = [[Fraction(float(cost[i, j])) for j in range(m)] for i in range(n)]
    arcs = [(i, n + j, exact[i][j]) for i in range(n) for j in range(m)]
    arcs += [(n + j, i, -exact[i][j]) for i in range(n) for j in range(m) if float(plan[i, j]) > 0]
    flat = [c for row in exact for c in row]
    spread = max(flat) - min(flat) or Fraction(1)
    slack = spread * Fraction(1, 10**11)
    distance = [Fraction(0)] * (n + m)
    for _ in range(n + m + 1):
        moved = False
        for tail, head, length in arcs:
            if distance[tail] + length < distance[head] - slack:
                distance[head], moved = distance[tail] + length, True
        if not moved:
            return 0.0
    return 1.0


@sweep(40)
@pytest.mark.parametrize("kind", ["plain", "scale", "nearly equal", "masses"])
def test_optimal_is_optimal(seeds: range, kind: str) -> None:
    for seed in seeds:
        cost, a, b = hard(kind, torch.Generator().manual_seed(seed))
        solution = solve(Linear(CostMatrix(cost), a, b))
        plan = solution.coupling.dense()
        assert solution.report.status is Status.OPTIMAL, (kind, seed)
        error = float((plan.sum(1) - a).abs().sum() + (plan.sum(0) - b).abs().sum())
        assert error <= 1e-14, (kind, seed, error)
        assert excess(cost, plan) == 0, (kind, seed)


@sweep(40)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_optimal_in_its_own_rounding(seeds: range, dtype: torch.dtype) -> None:
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        n, m = (int(k) for k in torch.randint(1, 30, (2,), generator=generator))
        d = 1 + seed % 2
        x, y = torch.randn(n, d, generator=generator).to(dtype), torch.randn(m, d, generator=generator).to(dtype)
        a, b = torch.rand(n, generator=generator) + 0.1, torch.rand(m, generator=generator) + 0.1
        a, b = (a / a.sum()).to(dtype), (b / b.sum()).to(dtype)
        for sides in ((None, None), (a, b)):
            solution = solve(Linear(PointCloud(x, y), *sides))
            assert solution.report.status is Status.OPTIMAL, (seed, solution.report)
            assert solution.value.dtype == solution.f.dtype == solution.coupling.dtype == dtype
            assert float(solution.coupling.mass) == pytest.approx(1, abs=8 * torch.finfo(dtype).eps)
            wide = [side if side is None else side.double() for side in sides]
            if sides[0] is not None:
                wide[1] = wide[1] * (wide[0].sum() / wide[1].sum())
            exact = solve(Linear(PointCloud(x.double(), y.double()), *wide))
            scale = float(exact.f.abs().max() + exact.g.abs().max())
            torch.testing.assert_close(
                solution.value.double(), exact.value, rtol=2 * torch.finfo(dtype).eps, atol=1e-6 * scale
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_entropic_problems_in_half_precision_meet_their_tolerance(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(100, 2, generator=generator).to(dtype), torch.rand(90, 2, generator=generator).to(dtype)
    for sides in ((None, None), (torch.full((100,), 0.01, dtype=dtype), torch.full((90,), 1 / 90, dtype=dtype))):
        solution = solve(Linear(PointCloud(x, y), *sides, epsilon=0.1))
        assert solution.report.status is Status.CONVERGED
        assert solution.f.dtype == torch.float32


def test_strict_solvers_stay_strict_inside_the_router() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 2, generator=generator), torch.randn(40, 2, generator=generator)
    problem = Linear(PointCloud(x, y), epsilon=0.01)
    with pytest.raises(NotConvergedError) as caught:
        solve(problem, Auto(candidates=(Sinkhorn(strict=True, max_iter=2),)))
    assert caught.value.solution.report.iterations == 2
    with pytest.raises(NotConvergedError):
        solve(problem, Auto(candidates=(Auto(candidates=(Sinkhorn(strict=True, max_iter=2),)),)))


def test_hints_do_not_change_reduced_problems() -> None:
    cost, a, b = hard("nearly equal", torch.Generator().manual_seed(3))
    first = solve(Linear(CostMatrix(cost), a, b), Simplex())
    again = solve(Linear(CostMatrix(cost), a, b), Simplex(init=first))
    torch.testing.assert_close(again.value, first.value, rtol=1e-15, atol=0)
