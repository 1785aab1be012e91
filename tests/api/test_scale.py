"""Distances of clouds of any scale and any order: homogeneous to rounding, or refused."""

from __future__ import annotations

import importlib
import itertools
import math

import numpy as np
import pytest
import torch

import monge
from monge.errors import InputError
from monge.problem import relative
from sweep import sweep

ORDERS = [1.0, 1.5, 2.0, 3.0, 50.0, 175.0, 500.0]


def a_case(seed: int):
    """Two clouds, weights or none, an order, and a scale that is a power of two."""
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    dtype = (torch.float32, torch.float64)[seed % 2]
    n, d = int(draw.integers(1, 7)), int(draw.choice([1, 2, 3, 10]))
    m = n if draw.random() < 0.5 else int(draw.integers(1, 7))
    x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64).to(dtype) for k in (n, m))
    if draw.random() < 0.1:
        y = x.clone()
    a = None
    if draw.random() < 0.3:
        a = torch.rand(n, generator=generator, dtype=dtype) + 0.1
        a = a / a.sum()
    decades = 30 if dtype == torch.float32 else 200
    scale = 2.0 ** int(draw.uniform(-decades, decades) * math.log2(10))
    return x, y, a, float(draw.choice(ORDERS)), scale


@sweep(default=150)
def test_wasserstein_is_homogeneous(seeds: range) -> None:
    refused = 0
    for seed in seeds:
        x, y, a, p, scale = a_case(seed)
        try:
            one, other = monge.wasserstein(x, y, a, p=p), monge.wasserstein(scale * x, scale * y, a, p=p)
        except InputError:
            refused += 1
            continue
        if torch.equal(x, y) and a is None:
            assert float(one) == float(other) == 0, seed
            continue
        rounding = 1e-5 if x.dtype == torch.float32 else 1e-12
        assert float(one) > 0 or a is not None, seed
        assert float(other) / scale == pytest.approx(float(one), rel=rounding, abs=1e-9), f"seed {seed}, p={p}"
    assert refused <= 2 + len(seeds) / 20


@sweep(default=40, slow=2000)
def test_wasserstein_between_the_largest_gap_and_the_mean(seeds: range) -> None:
    """Of equal points on a line the sorted gaps decide, in any order of the distance."""
    for seed in seeds:
        draw = np.random.default_rng(seed)
        x, y = (torch.from_numpy(draw.normal(size=(5, 1))) for _ in range(2))
        p = float(draw.choice(ORDERS))
        gap = (x[:, 0].sort().values - y[:, 0].sort().values).abs()
        most = float(gap.max())
        want = most * float((gap / most).pow(p).mean()) ** (1 / p)
        try:
            found = float(monge.wasserstein(x, y, p=p))
        except InputError:
            # Sixteen times less than the largest distance, at p = 500, is beyond float64.
            found = want if p == 500 and most < (torch.cat([x, y]).amax() - torch.cat([x, y]).amin()) / 8 else -1.0
        assert found == pytest.approx(want, rel=1e-12), seed


def test_units_are_those_of_each_problem_of_a_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4, 5, 2, generator=generator) for _ in range(2))
    scale = torch.tensor([2.0**-90, 1.0, 2.0**80, 2.0**-3])
    found = monge.wasserstein(x * scale[:, None, None], y * scale[:, None, None])
    torch.testing.assert_close(found / scale, monge.wasserstein(x, y))


def test_gradients_survive_the_change_of_units() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    slopes = []
    for scale in (1.0, 2.0**600):
        z = (scale * x).requires_grad_()
        (slope,) = torch.autograd.grad(monge.wasserstein(z, scale * y, p=3.0), z)
        slopes.append(slope)
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**40])
def test_entropic_distances_scale_too(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, 2, generator=generator) for _ in range(2))
    for epsilon, other in ((0.1, 0.1 * scale**2), (relative(0.1), relative(0.1))):
        want = scale * monge.wasserstein(x, y, epsilon=epsilon)
        torch.testing.assert_close(monge.wasserstein(scale * x, scale * y, epsilon=other), want, rtol=1e-4, atol=0.0)


def test_powers_that_no_number_holds_are_refused() -> None:
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    y = torch.tensor([[1e-4], [1.0]], dtype=torch.float64)
    with pytest.raises(InputError, match="lower p"):
        monge.wasserstein(x, y, p=500.0)
    assert float(monge.wasserstein(x, y, p=20.0)) == pytest.approx(1e-4 * 0.5 ** (1 / 20))
    assert float(monge.wasserstein(x, x, p=500.0)) == 0


@pytest.mark.parametrize(("scale", "told"), [(1e-30, "vanish"), (1e25, "overflow")])
def test_slices_refuse_powers_out_of_range(scale: float, told: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, 2, generator=generator) for _ in range(2))
    theta = monge.sliced.directions(5, 2, generator=generator)
    with pytest.raises(InputError, match=told):
        monge.sliced.sliced_wasserstein(scale * x, scale * y, theta=theta)
    assert float(monge.sliced.sliced_wasserstein(scale * x, scale * x, theta=theta).distance) == 0
    wide = [(scale * cloud).double() for cloud in (x, y)]
    found = monge.sliced.sliced_wasserstein(*wide, theta=theta.double()).distance / scale
    want = monge.sliced.sliced_wasserstein(x, y, theta=theta).distance
    assert float(found) == pytest.approx(float(want), rel=1e-5)


def test_circles_refuse_powers_out_of_range() -> None:
    x, y = torch.tensor([0.1, 0.5]), torch.tensor([0.2, 0.6])
    with pytest.raises(InputError, match="vanish"):
        monge.sliced.circular_wasserstein(x, y, p=100.0)
    assert float(monge.sliced.circular_wasserstein(x.double(), y.double(), p=100.0)) == pytest.approx(0.1, rel=1e-6)


def test_dear_pairs_do_not_hide_the_digits_of_cheap_ones() -> None:
    """Equal clouds are at distance zero, whatever the order: powers of the others' distances are 1e238 here."""
    x, y, _, p, _ = a_case(2731)
    assert p == 500
    assert torch.equal(x, y)
    assert float(monge.wasserstein(x, y, p=p)) == 0


@sweep(default=40, slow=2000)
def test_large_orders_find_the_best_bijection(seeds: range) -> None:
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        n, p = 2 + seed % 4, (20.0, 50.0, 175.0, 500.0)[seed // 4 % 4]
        x, y = torch.randn(2, n, 2, generator=generator, dtype=torch.float64).unbind()
        apart = torch.cdist(x, y).log()
        totals = [torch.logsumexp(p * apart[range(n), order], 0) for order in itertools.permutations(range(n))]
        want = math.exp((float(torch.stack(totals).min()) - math.log(n)) / p)
        assert float(monge.wasserstein(x, y, p=p)) == pytest.approx(want, rel=1e-9), f"seed {seed}"


def test_no_matrix_is_built_where_no_digit_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    module = importlib.import_module("monge.api.wasserstein")
    monkeypatch.setattr(module, "_without_dear_pairs", lambda *given: asked.append(given) or given[1])
    x, y = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0)).unbind()
    monge.wasserstein(x, y)
    monge.wasserstein(x, y[:20], p=1.0)
    assert not asked
    monge.wasserstein(x.double(), y.double(), p=175.0)
    assert asked
