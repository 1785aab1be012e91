"""The value of a relaxed problem moves with its price as the distance of the plan's marginal from the weights does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from monge.geometry import CostMatrix, Geometry, Line
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Sinkhorn, solve
from sweep import sweep

D = torch.float64
STEP = 1e-6


def between(got: float, below: float, above: float) -> bool:
    """One-sided differences enclose the derivative; where they differ any number between them is one."""
    slack = 1e-4 * (1 + abs(below) + abs(above))
    return min(below, above) - slack <= got <= max(below, above) + slack


def slopes(value: Callable[[torch.Tensor], torch.Tensor], at: float) -> tuple[torch.Tensor, tuple[float, float]]:
    """The number with its gradient, and the differences on both sides of it."""
    number = torch.tensor(at, dtype=D, requires_grad=True)
    here = value(number)
    here.backward()
    low, middle, high = (
        float(v.detach()) for v in (value(number.detach() - STEP), here, value(number.detach() + STEP))
    )
    return number, ((middle - low) / STEP, (high - middle) / STEP)


@sweep(25, 3000)
@pytest.mark.parametrize("kind", ["tv", "tv on a line", "tv with entropy", "kl with entropy", "l2 with entropy"])
def test_the_derivative_by_the_price_is_the_distance_it_prices(seeds: range, kind: str) -> None:
    penalty, epsilon = kind[:2], 0.1 if "entropy" in kind else 0.0
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        n, m = (int(k) for k in torch.randint(1, 6, (2,), generator=generator))
        x, y, a, b = (torch.rand(k, generator=generator, dtype=D) + 0.05 for k in (n, m, n, m))
        costs = torch.rand(n, m, generator=generator, dtype=D)
        geometry: Geometry = Line(x, y) if "line" in kind else CostMatrix(costs)
        at = 0.05 + 0.6 * float(torch.rand(1, generator=generator))

        def value(
            rho: torch.Tensor,
            geometry: Geometry = geometry,
            a: torch.Tensor = a,
            b: torch.Tensor = b,
            one_side: bool = seed % 3 == 0,
        ) -> torch.Tensor:
            target = AtMost(b) if one_side else Relaxed(b, rho, penalty)
            problem = Linear(geometry, Relaxed(a, rho, penalty), target, epsilon=epsilon)
            return solve(problem, Sinkhorn(tol=1e-10) if epsilon else None).value

        rho, sides = slopes(value, at)
        assert between(float(rho.grad), *sides), (kind, seed, float(rho.grad), sides)


@sweep(25, 3000)
def test_the_derivative_by_the_mass_is_that_of_one_side(seeds: range) -> None:
    """The value is piecewise linear in the mass; at a kink its derivative lies between those of both sides."""
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        n, m = (int(k) for k in torch.randint(2, 6, (2,), generator=generator))
        costs = torch.rand(n, m, generator=generator, dtype=D)
        a, b = torch.full((n,), 1 / n, dtype=D), torch.full((m,), 1 / m, dtype=D)
        at = 1 / n if seed % 2 else 0.1 + 0.8 * float(torch.rand(1, generator=generator))

        def value(
            mass: torch.Tensor, costs: torch.Tensor = costs, a: torch.Tensor = a, b: torch.Tensor = b
        ) -> torch.Tensor:
            return solve(Linear(CostMatrix(costs), AtMost(a), AtMost(b), mass=mass)).value

        mass, sides = slopes(value, at)
        assert between(float(mass.grad), *sides), (seed, float(mass.grad), sides)
