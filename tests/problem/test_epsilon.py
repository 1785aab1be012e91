"""What a relative epsilon is a fraction of."""

from __future__ import annotations

import math

import pytest
import torch

from monge.errors import InputError
from monge.geometry import CostMatrix, Line, PointCloud
from monge.problem import Linear, relative
from sweep import sweep


def resolved(geometry, a=None, b=None) -> torch.Tensor:
    return Linear(geometry, a, b, epsilon=relative(0.1)).epsilon


@sweep(default=100)
def test_the_unit_has_no_scale_and_ignores_what_negative_costs_are_shifted_by(seeds: range) -> None:
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        cost = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
        cost[0, 0, 1] = math.inf
        a = torch.rand(5, generator=generator, dtype=torch.float64).masked_fill(torch.arange(5) == seed % 7, 0)
        a, b = a / a.sum(), torch.full((4,), 0.25, dtype=torch.float64)
        epsilon = resolved(CostMatrix(cost), a, b)
        assert bool((epsilon > 0).all()), seed
        for factor in (1e-9, 1e9):
            torch.testing.assert_close(resolved(CostMatrix(factor * cost), a, b), factor * epsilon)
        least = cost.masked_fill((a == 0)[:, None], math.inf).amin((-1, -2))
        lower = resolved(CostMatrix(cost - 3 - least.clamp_min(0)[:, None, None]), a, b)
        torch.testing.assert_close(lower, resolved(CostMatrix(cost - least[:, None, None]), a, b))
        positive = cost.abs()
        finite = positive.masked_fill(positive == math.inf, 0)
        mass = torch.einsum("i,bij,j->b", a, (positive < math.inf).double(), b)
        torch.testing.assert_close(
            resolved(CostMatrix(positive), a, b), 0.1 * torch.einsum("i,bij,j->b", a, finite, b) / mass
        )


def test_equal_costs_have_no_unit_and_need_none() -> None:
    x = torch.ones(4, 3)
    for geometry in (PointCloud(x, x), CostMatrix(torch.full((4, 4), -0.3)), PointCloud(x, x, "dot")):
        assert float(resolved(geometry)) == pytest.approx(0.1)
    assert float(resolved(CostMatrix(torch.full((4, 4), 0.3)))) == pytest.approx(0.03)
    # One problem of a batch without a unit leaves the others theirs.
    pair = torch.stack([x, torch.randn(4, 3, generator=torch.Generator().manual_seed(0))])
    both, alone = resolved(PointCloud(pair, pair)), resolved(PointCloud(pair[1], pair[1]))
    torch.testing.assert_close(both, torch.stack([torch.tensor(0.1), alone]))


def test_a_unit_that_vanished_or_overflowed_is_refused() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for geometry in (
        PointCloud(1e-30 * x, -1e-30 * x),
        PointCloud(1e-21 * x, -1e-21 * x),
        Line(1e-30 * x[0], -x[0] * 1e-30),
    ):
        with pytest.raises(InputError, match="needs a mean cost within the range of float32"):
            resolved(geometry)
    assert float(resolved(PointCloud(1e-30 * x.double(), -1e-30 * x.double()))) > 0


def test_infinite_numbers_are_no_epsilon() -> None:
    geometry = CostMatrix(torch.eye(2))
    for wrong in (math.inf, math.nan, -1.0):
        with pytest.raises(InputError, match="epsilon must lie in"):
            Linear(geometry, epsilon=wrong)
        with pytest.raises(InputError, match="fraction must lie in"):
            relative(wrong)
