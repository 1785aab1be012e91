"""Forbidden pairs: problems are solved where a plan exists, and refused with a reason where none does."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from monge.errors import InfeasibleError
from monge.geometry import CostMatrix
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import Newton, Simplex, Sinkhorn, Status, solve
from sweep import sweep

D = torch.float64


def tight_blocks(seed: int, dtype: torch.dtype) -> Linear:
    """Blocks whose two sides have one mass, but only up to rounding."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.randint(1, 5, (2, int(torch.randint(2, 6, (1,), generator=generator))), generator=generator)
    cost = torch.full((int(rows.sum()), int(columns.sum())), math.inf, dtype=D)
    plan = torch.zeros_like(cost)
    i = j = 0
    for p, q in zip(rows.tolist(), columns.tolist(), strict=True):
        cost[i : i + p, j : j + q] = torch.rand(p, q, generator=generator, dtype=D)
        plan[i : i + p, j : j + q] = torch.rand(p, q, generator=generator, dtype=D)
        i, j = i + p, j + q
    if seed % 2:
        # A forest: along a spanning path no other plan exists.
        path = torch.rand(len(cost), generator=generator, dtype=D)
        cost = torch.full((len(cost), len(cost)), math.inf, dtype=D)
        cost.diagonal().copy_(path)
        cost.diagonal(1).copy_(path[1:])
        plan = torch.where(cost < math.inf, torch.rand(cost.shape, generator=generator, dtype=D), 0.0)
    order = torch.randperm(len(cost), generator=generator)
    cost, plan = cost[order], plan[order]
    a, b = (plan.sum(axis) / plan.sum() for axis in (1, 0))
    return Linear(CostMatrix(cost.to(dtype)), a.to(dtype), b.to(dtype))


@sweep(60)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tight_blocks_are_solved(seeds: range, dtype: torch.dtype) -> None:
    for seed in seeds:
        problem = tight_blocks(seed, dtype)
        solution = solve(problem, Simplex())
        assert solution.report.status is Status.OPTIMAL, seed
        row, col = solution.coupling.marginals()
        error = float((row - problem.a).abs().sum() + (col - problem.b).abs().sum())
        assert error <= 32 * torch.finfo(dtype).eps, seed
        assert solution.value.isfinite(), seed


def shortfall(allowed: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The share of ``a`` that cannot be moved into ``b``, by HiGHS."""
    i, j = np.nonzero(allowed)
    if len(i) == 0:
        return 1.0
    rows, columns = np.zeros((len(a), len(i))), np.zeros((len(b), len(i)))
    rows[i, range(len(i))], columns[j, range(len(i))] = 1, 1
    moved = linprog(-np.ones(len(i)), A_ub=np.vstack([rows, columns]), b_ub=np.concatenate([a, b]), method="highs-ds")
    return 1 + moved.fun / a.sum()


def masked(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    n, m = (int(k) for k in torch.randint(1, 7, (2,), generator=generator))
    cost = torch.rand(n, m, generator=generator, dtype=D)
    cost[torch.rand(n, m, generator=generator) < 0.45] = math.inf
    a, b = (torch.randint(1, 6, (size,), generator=generator).double() for size in (n, m))
    return cost, a / a.sum(), b / b.sum()


@sweep(60)
def test_impossible_problems_are_refused_and_possible_ones_are_not(seeds: range) -> None:
    for seed in seeds:
        cost, a, b = masked(seed)
        allowed = (cost < math.inf).numpy()
        missing = shortfall(allowed, a.numpy(), b.numpy())
        for problem, solver in (
            (Linear(CostMatrix(cost), a, b), Simplex()),
            (Linear(CostMatrix(cost), a, b, epsilon=0.5), Sinkhorn(max_iter=3)),
            (Linear(CostMatrix(cost), a, b, epsilon=0.5), Newton(max_iter=3)),
            (Linear(CostMatrix(cost), AtMost(a), Fixed(b), epsilon=0.5), Sinkhorn(max_iter=3)),
        ):
            if missing < 1e-9:
                solve(problem, solver)
                continue
            with pytest.raises(InfeasibleError, match="infinite cost") as caught:
                solve(problem, solver)
            check_reason(str(caught.value), cost, a, b)


def check_reason(told: str, cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """The points that are named hold more than all that they reach."""
    found = re.search(
        r"(row|column)s? ([\d, ]+) holds? \S+ and reach(?:es)? (?:only (?:row|column)s? ([\d, ]+),|no)", told
    )
    assert found, told
    side, holders, takers = found.groups()
    allowed = (cost if side == "row" else cost.mT) < math.inf
    held, room = (a, b) if side == "row" else (b, a)
    chosen = [int(k) for k in holders.split(",")]
    reached = allowed[chosen].any(0).nonzero()[:, 0].tolist()
    assert reached == ([] if takers is None else [int(k) for k in takers.split(",")]), told
    assert held[chosen].sum() > room[reached].sum() + 1e-9, told


@sweep(40)
def test_a_mass_that_cannot_move_is_refused(seeds: range) -> None:
    for seed in seeds:
        cost, a, b = masked(seed)
        possible = 1 - shortfall((cost < math.inf).numpy(), a.numpy(), b.numpy())
        for share, epsilon in ((0.97, 0.0), (1.03, 0.0), (0.97, 0.5), (1.03, 0.5)):
            mass = share * possible
            if not 0 < mass <= 1:
                continue
            solver = Sinkhorn(max_iter=3) if epsilon else Simplex()
            problem = Linear(CostMatrix(cost), AtMost(a), AtMost(b), epsilon=epsilon, mass=mass)
            if share < 1:
                solve(problem, solver)
            else:
                with pytest.raises(InfeasibleError, match="infinite cost"):
                    solve(problem, solver)


def test_sides_that_may_be_missed_need_only_be_reached() -> None:
    cost = torch.tensor([[1.0, math.inf], [1.0, math.inf]], dtype=D)
    half = torch.full((2,), 0.5, dtype=D)
    for target in (Relaxed(half, 1.0), Free(half)):
        assert solve(Linear(CostMatrix(cost), Fixed(half), target, epsilon=0.3)).report.status.ok
    with pytest.raises(InfeasibleError, match=r"column 1 holds 0\.5 and reaches no row"):
        solve(Linear(CostMatrix(cost), Free(half), Fixed(half), epsilon=0.3))
    batch = torch.stack([torch.zeros_like(cost), cost])
    with pytest.raises(InfeasibleError, match=r"rows 0, 1 of problem \(1,\)"):
        solve(Linear(CostMatrix(batch), half, half, epsilon=0.3))


def test_plans_on_the_boundary_are_approached() -> None:
    """An allowed pair that must stay empty: no potentials are optimal, and the marginal error still falls."""
    cost = torch.zeros(30, 30, dtype=D).masked_fill(torch.ones(30, 30).triu(1) > 0, math.inf)
    for solver in (Sinkhorn(), Newton()):
        assert solve(Linear(CostMatrix(cost), epsilon=1.0), solver).report.status.ok
