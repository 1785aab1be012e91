"""Exact and unbalanced barycentres on given points, against programmes, closed forms and differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import monge
from monge.api import _exact_barycenter as exact_module
from monge.errors import ConvergenceWarning
from monge.geometry import CostMatrix, Line

D = torch.float64
# A seed of several rows, columns and histograms, all of whose pairs are allowed.
SOME = 20


def draw(seed):
    """Costs, histograms and shares of a small problem, some of them degenerate."""
    g = torch.Generator().manual_seed(seed)
    n, m, count = (int(torch.randint(low, high, (), generator=g)) for low, high in ((1, 7), (1, 7), (1, 5)))
    cost = torch.rand(n, m, generator=g, dtype=D) * 10.0 ** int(torch.randint(-9, 9, (), generator=g))
    bins = torch.rand(count, m, generator=g, dtype=D)
    if seed % 3 == 0:
        cost = (4 * cost / cost.amax()).round()
        bins = (3 * bins).round()
        bins[:, 0] += 1
    if seed % 4 == 1 and n > 1:
        cost[0, 1:] = math.inf
    shares = torch.rand(count, generator=g, dtype=D) + 0.1
    return cost, bins / bins.sum(-1, keepdim=True), shares / shares.sum()


def objective(cost, bins, shares, q):
    """The sum of the optimal costs, by a programme for each histogram."""
    return sum(float(share) * programme(cost, q, b) for share, b in zip(shares, bins, strict=True))


def programme(cost, a, b):
    n, m = cost.shape
    i, j = np.nonzero(np.isfinite(cost.numpy()))
    rows = np.zeros((n + m, len(i)))
    rows[i, np.arange(len(i))] = rows[n + j, np.arange(len(i))] = 1
    # The solver takes what is small beside one for zero.
    prices = cost.numpy()[i, j]
    size = prices.max(initial=0.0) or 1.0
    found = linprog(prices / size, A_eq=rows, b_eq=np.concatenate([a.numpy(), b.numpy()]), method="highs")
    return size * found.fun if found.status == 0 else math.inf


@pytest.mark.parametrize("seed", range(60))
def test_exact_barycentres_are_not_beaten(seed):
    cost, bins, shares = draw(seed)
    q = monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=0)
    assert q.min() >= 0
    assert abs(float(q.sum()) - 1) <= 1e-12
    least = objective(cost, bins, shares, q)
    size = float(cost[cost < math.inf].amax()) * 1e-9 + 1e-300
    g = torch.Generator().manual_seed(seed)
    for _ in range(5):
        other = torch.rand(len(cost), generator=g, dtype=D) ** 3
        assert objective(cost, bins, shares, other / other.sum()) >= least - size
        near = (q + 0.05 * other).clamp_min(0)
        assert objective(cost, bins, shares, near / near.sum()) >= least - size


def test_an_exact_barycentre_on_a_line_is_the_mean_of_quantiles():
    places = torch.arange(21, dtype=D)
    for one, two in itertools.combinations((2, 5, 9, 16), 2):
        bins = torch.zeros(2, 21, dtype=D)
        bins[0, one : one + 3] = bins[1, two : two + 3] = 1 / 3
        q = monge.barycenter_on(Line(places, places), bins, [0.5, 0.5], epsilon=0)
        middle = (one + two) / 2
        if float(middle).is_integer():
            expected = torch.zeros(21, dtype=D)
            expected[int(middle) : int(middle) + 3] = 1 / 3
            assert torch.allclose(q, expected, atol=1e-9)


def test_one_histogram_is_its_own_barycentre_and_a_batch_is_a_loop():
    cost = (torch.arange(5)[:, None] - torch.arange(5)).square().double()
    bins = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=D)
    bins = 7 * bins / bins.sum(-1, keepdim=True)
    assert torch.allclose(monge.barycenter_on(CostMatrix(cost), bins[0, :1], epsilon=0), bins[0, 0])
    for options in ({"epsilon": 0}, {"epsilon": 0.3, "rho": 2.0}):
        together = monge.barycenter_on(CostMatrix(cost), bins, **options)
        for k in range(4):
            assert torch.equal(together[k], monge.barycenter_on(CostMatrix(cost), bins[k], **options))


def test_the_gap_of_an_exact_barycentre_is_measured(monkeypatch):
    cost, bins, shares = draw(SOME)
    right = exact_module._programme

    def spoiled(*given):
        q, f = right(*given)
        q = q + 0.1
        return q / q.sum(), f

    monkeypatch.setattr(exact_module, "_programme", spoiled)
    with pytest.warns(ConvergenceWarning, match="misses the least objective"):
        monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=0)


def unbalanced(cost, bins, shares, epsilon, rho, logs):
    """The objective of the logarithms of plans."""
    plans = logs.exp()
    row, col = plans.sum(-1), plans.sum(1)
    q = shares @ row

    def divergence(mu, to):
        return (torch.special.xlogy(mu, mu) - torch.special.xlogy(mu, to) - mu + to).sum(-1)

    entropy = epsilon * (plans * logs - plans).sum((1, 2))
    price = rho * (divergence(row, q) + divergence(col, bins))
    return (shares * ((plans * cost).sum((1, 2)) + entropy + price)).sum()


@pytest.mark.parametrize(("epsilon", "rho"), [(0.1, 1.0), (0.5, 0.2), (0.05, 3.0)])
def test_unbalanced_barycentres_are_stationary(epsilon, rho):
    g = torch.Generator().manual_seed(0)
    cost, bins = torch.rand(5, 6, generator=g, dtype=D), torch.rand(3, 6, generator=g, dtype=D) + 0.05
    bins[0] *= 4
    shares = torch.tensor([0.2, 0.3, 0.5], dtype=D)
    q = monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=epsilon, rho=rho, tol=1e-13, max_iter=100_000)
    # For this q, each plan is that of an unbalanced problem between q and a histogram, in the library's own words.
    logs, power = [], rho / (rho + epsilon)
    for b in bins:
        f, h = torch.zeros(5, dtype=D), torch.zeros(6, dtype=D)
        for _ in range(3000):
            h = power * epsilon * (b.log() - torch.logsumexp((f[:, None] - cost) / epsilon, 0))
            f = power * epsilon * (q.log() - torch.logsumexp((h - cost) / epsilon, 1))
        logs.append((f[:, None] + h - cost) / epsilon)
    logs = torch.stack(logs).requires_grad_()
    row = logs.detach().exp().sum(-1)
    assert torch.allclose(shares @ row, q, rtol=1e-6)
    (slope,) = torch.autograd.grad(unbalanced(cost, bins, shares, epsilon, rho, logs), logs)
    assert slope.abs().max() <= 1e-6 * float(logs.detach().exp().max())


def test_unbalanced_barycentres_tend_to_balanced_ones_and_to_nothing():
    places = torch.arange(30, dtype=D)
    bins = torch.stack([torch.exp(-((places - centre) ** 2) / 8) for centre in (8.0, 20.0)])
    bins = bins / bins.sum(-1, keepdim=True)
    line = Line(places, places)
    balanced = monge.barycenter_on(line, bins, epsilon=2.0, debiased=False, tol=1e-8)
    dear = monge.barycenter_on(line, bins, epsilon=2.0, rho=1e4, tol=1e-9, max_iter=50_000)
    assert (dear - balanced).abs().sum() <= 0.02
    # Where mass is cheap to lose, nothing travels: there are two bumps, and none between them.
    cheap = monge.barycenter_on(line, bins, epsilon=0.05, rho=1.0)
    assert cheap[14] < 0.1 * cheap.max()
    assert cheap[8] > 0.5 * cheap.max()
    assert cheap[20] > 0.5 * cheap.max()


def test_a_search_that_ends_early_says_so():
    cost, bins, shares = draw(SOME)
    with pytest.warns(ConvergenceWarning, match="misses the least objective"):
        monge.barycenter_on(CostMatrix(cost / cost.max()), bins, shares, epsilon=0.01, rho=100.0, max_iter=3)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_scales_of_costs_and_masses(scale):
    cost, bins, shares = draw(SOME)
    cost = cost / cost[cost < math.inf].max()
    q = monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=0)
    assert torch.allclose(monge.barycenter_on(CostMatrix(scale * cost), scale * bins, shares, epsilon=0), scale * q)
    one = monge.barycenter_on(CostMatrix(cost), bins, shares, epsilon=0.1, rho=1.0)
    two = monge.barycenter_on(CostMatrix(scale * cost), bins, shares, epsilon=0.1 * scale, rho=scale)
    assert torch.allclose(one, two, rtol=1e-6)
