"""Rounding is no match: partial plans pair, list and rank what moves, and nothing else."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.coupling import Coupling, DenseCoupling, MonotoneCoupling, PermutationCoupling, SparseCoupling, SumCoupling
from monge.geometry import PointCloud
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Assignment, Auto, Newton, Simplex, Sinkhorn, Solver, solve
from sweep import sweep

D = torch.float64


@sweep(25, 2000)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("dimension", [1, 2])
def test_a_partial_plan_of_units_pairs_as_many(seeds: range, dtype: torch.dtype, dimension: int) -> None:
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        n, m = (int(k) for k in torch.randint(2, 40, (2,), generator=generator))
        m = n if seed % 2 else m
        k = int(torch.randint(1, min(n, m) + 1, (1,), generator=generator))
        x, y = (torch.rand(size, dimension, generator=generator, dtype=dtype) for size in (n, m))
        whole = torch.full((max(n, m),), 1 / max(n, m), dtype=dtype)
        P = solve(Linear(PointCloud(x, y), AtMost(whole[:n]), AtMost(whole[:m]), mass=k / max(n, m))).coupling
        check_matches(P, k, (seed, n, m, k))
        check_matches(DenseCoupling(P.dense()), k, (seed, "dense"))


def check_matches(P: Coupling, k: int, told: tuple) -> None:
    i, _ = P.pair(generator=torch.Generator().manual_seed(0))
    assert len(i) == k, told
    assert int((P.top_k(min(2, P.shape[-1])).w > 0).sum()) == k, told
    assert int((P.sparse(mass=1.0).w > 0).sum()) == k, told


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_dust_is_relative_to_the_mass(dtype: torch.dtype) -> None:
    i, j = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 0, 2])
    for mass in (1e-3, 1.0, 1e3):
        w = (mass * torch.tensor([0.5, 0.5, 1e-9, 1e-9], dtype=D) * (1 if dtype != D else 1e-8)).to(dtype)
        if dtype == D:
            w[:2] *= 1e8
        sparse = SparseCoupling(i, j, w, 3, 3)
        none = SparseCoupling(i[:1], j[:1], torch.zeros(1, dtype=dtype), 3, 3)
        for P in (sparse, MonotoneCoupling(i, j, w, 3, 3), DenseCoupling(sparse.dense()), SumCoupling((sparse, none))):
            assert P.pair()[0].tolist() == [0, 1]
            assert int((P.top_k(2).w > 0).sum()) == 2
            assert int((P.sparse(mass=1.0).w > 0).sum()) == 2
        weights = torch.stack([w[0], w[1], w[2]])
        assert PermutationCoupling(torch.tensor([2, 0, 1]), weights).pair()[0].tolist() == [0, 1]


def test_many_small_rows_are_no_dust() -> None:
    n = 300_000
    P = PermutationCoupling(torch.randperm(n), torch.full((n,), 1 / n))
    assert len(P.pair()[0]) == n


CASES: list[tuple[dict, Solver | None]] = [
    ({}, None),
    ({}, Assignment()),
    ({}, Simplex()),
    ({"mass": 0.5}, None),
    ({"rho": 1.0, "penalty": "tv"}, None),
    ({"epsilon": 0.1}, Sinkhorn()),
    ({"epsilon": 0.1}, Newton()),
    ({"epsilon": monge.relative(0.1), "rho": 1.0}, Auto()),
    ({"epsilon": 0.1, "mass": 0.5}, None),
]


@pytest.mark.parametrize(("options", "solver"), CASES)
@pytest.mark.parametrize("dimension", [1, 2])
def test_an_empty_batch_in_is_an_empty_batch_out(options: dict, solver: Solver | None, dimension: int) -> None:
    x = torch.randn(3, 0, 5, dimension)
    y = torch.randn(0, 5 if isinstance(solver, Assignment) else 6, dimension)
    P = monge.couple(x, y, solver=solver, **options)
    m = y.shape[-2]
    assert P.shape == (3, 0, 5, m)
    assert P.dense().shape == (3, 0, 5, m)
    assert P.barycentric(y).shape == (3, 0, 5, dimension)
    assert P.pair()[0].shape == (3, 0, 5)
    assert P.top_k(2).shape == P.sparse().shape == (3, 0, 5, m)
    assert P.transport_cost(PointCloud(x, y)).shape == (3, 0)
    problem = Linear(PointCloud(x, y), Relaxed(torch.ones(3, 0, 5) / 5, 1.0, "tv"), Relaxed(torch.ones(m), 1.0, "tv"))
    assert monge.explain(problem).chosen is not None
    assert solve(Linear(PointCloud(x, y), torch.ones(3, 0, 5), torch.ones(0, m))).value.shape == (3, 0)


def test_losses_of_an_empty_batch_are_empty() -> None:
    x, y = torch.randn(0, 5, 2), torch.randn(0, 6, 2)
    assert monge.divergence(x, y, epsilon=0.1).shape == (0,)
    assert monge.wasserstein(x, y).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_faces_take_clouds_in_half_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(100, 2, generator=generator).to(dtype), torch.rand(90, 2, generator=generator).to(dtype)
    a, b = torch.full((100,), 0.01, dtype=dtype), torch.full((90,), 1 / 90, dtype=dtype)
    wide = x.float(), y.float()
    near = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps}
    for sides in ((), (a, b)):
        torch.testing.assert_close(monge.couple(x, y, *sides).mass.float(), torch.tensor(1.0), **near)
        torch.testing.assert_close(monge.wasserstein(x, y, *sides).float(), monge.wasserstein(*wide), **near)
    torch.testing.assert_close(
        monge.divergence(x, y, epsilon=0.1).float(), monge.divergence(*wide, epsilon=0.1), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(monge.pairwise([x, y]).float(), monge.pairwise(list(wide)), **near)
    assert float(monge.coupling.ProductCoupling(a, b).mass) == pytest.approx(1, abs=2 * torch.finfo(dtype).eps)
    unit = [torch.nn.functional.normalize(torch.randn(50, 3, generator=generator).to(dtype), dim=-1) for _ in range(2)]
    assert monge.sliced.spherical_sliced_wasserstein(*unit).distance.isfinite()
