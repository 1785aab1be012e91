"""Finite points whose costs are no finite numbers are named as such, and no others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monge.errors import InputError
from monge.geometry import Circle, Graph, Line, LowRankCost, PointCloud, Sphere, Tree
from sweep import sweep

NORMS = [("sqeuclidean", 2.0, None), ("euclidean", 2.0, 1.0), ("cityblock", 2.0, 1.5), ("minkowski", 3.0, 2.0)]


@sweep(default=200)
def test_costs_are_finite_or_refused(seeds: range) -> None:
    refused = 0
    for seed in seeds:
        draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        dtype = (torch.float32, torch.float64)[seed % 2]
        name, p, power = NORMS[int(draw.integers(len(NORMS)))]
        if power is not None and draw.random() < 0.5:
            power = float(draw.choice([0.5, 1.0, 3.0, 20.0, 200.0]))
        decades = 37 if dtype == torch.float32 else 300
        x, y = (
            torch.randn(3, 2, generator=generator, dtype=torch.float64) * 10.0 ** draw.uniform(-decades, decades)
            for _ in range(2)
        )
        x, y = x.to(dtype), y.to(dtype)
        # The cost by logarithms, which neither overflow nor vanish.
        apart = (x.double()[:, None] / 2 - y.double() / 2).abs()
        size = apart.amax(-1)
        order = {"sqeuclidean": 2.0, "euclidean": 2.0, "cityblock": 1.0, "minkowski": p}[name]
        spread = (apart / size[..., None]).pow(order).sum(-1).log() / order
        want = (size.log() + math.log(2) + spread) * (2.0 if power is None else power)
        try:
            cost = PointCloud(x, y, name, p, power).dense()
        except InputError:
            cost = None
        if cost is None:
            refused += 1
            largest = math.log(torch.finfo(dtype).max)
            inner = order * float((size.log() + math.log(2) + spread).amax())
            # The bound of a distance is at most the root of two dimensions too large.
            slack = 1 + 0.5 * math.log(2) * max(order, 2.0 if power is None else power)
            assert max(float(want.max()), inner) > largest - slack or inner < slack - largest, f"seed {seed}"
            continue
        finite = torch.finfo(dtype)
        seen = want > math.log(finite.tiny) + 2
        assert bool(cost.isfinite().all()), f"seed {seed}: {cost}"
        rounding = 1e-3 if dtype == torch.float32 else 1e-9
        assert bool(((cost.double().log() - want)[seen].abs() <= rounding).all()), f"seed {seed}"
    assert 0.1 < refused / len(seeds) < 0.8


@pytest.mark.parametrize(
    "make",
    [
        lambda: PointCloud(torch.full((2, 2), 1e20), torch.zeros(2, 2)),
        lambda: PointCloud(torch.full((2, 2), 1e20), torch.full((2, 2), 1e20), "dot"),
        lambda: PointCloud(torch.ones(2, 2), torch.zeros(2, 2), "euclidean", power=300.0),
        lambda: Line(torch.tensor([1e20]), torch.tensor([0.0])),
        lambda: Circle(torch.tensor([1.0]), torch.tensor([0.0]), circumference=1e30),
        lambda: Sphere(torch.ones(2, 2), torch.ones(2, 2), p=100.0),
        lambda: Tree.from_parents(torch.tensor([-1, 0]), torch.tensor([0.0, 1e30]), p=2.0),
        lambda: Graph.from_edges(torch.tensor([[0], [1]]), torch.tensor([1e30])),
        lambda: LowRankCost(torch.full((2, 1), 1e20), torch.full((2, 1), 1e20)),
    ],
)
def test_each_geometry_names_its_overflow(make) -> None:
    with pytest.raises(InputError, match="costs of these points may reach"):
        make()


def test_where_points_lie_does_not_matter() -> None:
    x = 1e20 + 1e14 * torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    assert bool(PointCloud(x, x.flip(0)).dense().isfinite().all())
    far = torch.stack([x, -x])
    assert PointCloud(far, far).batch_shape == (2,)


def test_squares_that_vanish_are_named() -> None:
    x = 1e-30 * torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="are zero in float32"):
        PointCloud(x, -x, "euclidean")
    assert bool((PointCloud(x, -x, "cityblock").dense() > 0).all())
    assert bool((PointCloud(x, x[:1].expand(3, 2), "cityblock").dense()[0] == 0).all())
