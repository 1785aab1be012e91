"""Unbalanced slices at their defaults: proved within their tolerance by formulas that share nothing with the solver."""

import math

import pytest
import torch

from draws import generator
from monge.errors import ConvergenceWarning
from monge.sliced import Balanced, Linear, Unbalanced, directions, estimate, unbalanced_sliced_wasserstein
from monge.sliced._aligned_clouds import Clouds
from sweep import sweep

D = torch.float64
ONE = Linear(torch.ones(1, 1, dtype=D))


def moved(u, v, a, b, p):
    """The cost of the monotone plan between two lists of equal mass, corner by corner."""
    first, last = (sorted(zip(*side, strict=True)) for side in ((u.tolist(), a.tolist()), (v.tolist(), b.tolist())))
    total, i, j = 0.0, 0, 0
    left, right = first[0][1], last[0][1]
    while i < len(first) and j < len(last):
        step = min(left, right)
        total += step * abs(first[i][0] - last[j][0]) ** p
        left, right = left - step, right - step
        if left <= right:
            i += 1
            left = first[i][1] if i < len(first) else 0.0
        else:
            j += 1
            right = last[j][1] if j < len(last) else 0.0
    return total


def kl(pi, a):
    return float((torch.special.xlogy(pi, pi / a) - pi + a).sum())


def level(weights, potential, price):
    """The logarithm of the mass that a side keeps."""
    return float(weights.sum().log() if price == math.inf else (weights.log() - potential / price).logsumexp(0))


def instance(seed):
    """Sizes, orders, prices over five decades against the costs, units over six, masses of their own."""
    g = generator(seed)
    n, m = (int(k) for k in torch.randint(1, 13, (2,), generator=g))
    p = (1.0, 1.5, 2.0, 3.0)[seed % 4]
    scale, ratio = (10 ** (width * float(torch.rand((), generator=g) - 0.5)) for width in (6.0, 4.0))
    u, v = (scale * torch.randn(k, generator=g, dtype=D) for k in (n, m))
    a, b = (torch.rand(k, generator=g, dtype=D) + 0.05 for k in (n, m))
    price = ratio * scale**p
    rho = [(price, price), (price, 3 * price), (price, math.inf), (math.inf, price)][seed // 4 % 4]
    return u, v, a, b, p, rho


@sweep(40)
def test_values_are_proved_by_both_sides(seeds):
    for seed in seeds:
        u, v, a, b, p, rho = instance(seed)
        line = Unbalanced(rho, Balanced(p))
        lines = Clouds(u[None], v[None], a[None], b[None])
        value, gap = (float(part[0]) for part in line._measured(lines))
        f, g, _ = line._potentials(lines)
        f, g, (x, y) = f[0], g[0], rho
        cost = (u[:, None] - v).abs() ** p
        assert float((f[:, None] + g - cost).max()) <= 1e-9 * float(cost.max()), f"seed {seed}"
        # The best common shift, then the dual as it stands in the books, and the objective at what it keeps.
        price = min(rho) if math.inf in rho else x * y / (x + y)
        t = price * (level(a, f, x) - level(b, g, y))
        dual, kept = 0.0, []
        for w, h, r in ((a, f + t, x), (b, g - t, y)):
            dual += float((w * h).sum()) if r == math.inf else float(-r * (w * torch.expm1(-h / r)).sum())
            kept.append(w if r == math.inf else w * torch.exp(-h / r))
        primal = moved(u, v, *kept, p) + sum(
            r * kl(pi, w) for r, pi, w in zip(rho, kept, (a, b), strict=True) if r < math.inf
        )
        size = abs(primal) + sum(abs(float((pi * h).sum())) for pi, h in zip(kept, (f, g), strict=True))
        assert value == pytest.approx(primal, rel=1e-7, abs=1e-10 * size), f"seed {seed}"
        assert primal - dual <= 1.01e-4 * primal + 1e-9 * size, f"seed {seed}: {(primal - dual) / primal:.1e}"
        assert gap == pytest.approx(primal - dual, rel=1e-2, abs=1e-9 * size), f"seed {seed}"


@sweep(40)
def test_two_diracs_in_closed_form(seeds):
    """Masses a and b at distance c keep m = a^s b^{1-s} e^{-c / (x + y)}, s = x / (x + y), at the prices x and y."""
    for seed in seeds:
        g = generator(seed)
        a, b, gap, x, y = (10 ** (2 * float(k) - 1) for k in torch.rand(5, generator=g))
        sides = torch.zeros(1, 1, dtype=D), torch.full((1, 1), gap, dtype=D)
        weights = torch.tensor([a], dtype=D), torch.tensor([b], dtype=D)
        s = x / (x + y)
        mass = a**s * b ** (1 - s) * math.exp(-(gap**2) / (x + y))
        expected = x * a + y * b - (x + y) * mass
        found, kept, other = unbalanced_sliced_wasserstein(*sides, *weights, slicer=ONE, rho=(x, y))
        each = estimate(*sides, *weights, slicer=ONE, line=Unbalanced((x, y)))
        for cost in (found.cost, each.cost):
            assert float(cost) == pytest.approx(expected, rel=1e-9, abs=1e-12), f"seed {seed}"
        assert float(kept) == pytest.approx(mass, rel=1e-9)
        assert float(other) == pytest.approx(mass, rel=1e-9)


@sweep(12, 1000)
def test_one_reweighting_for_all_slices_is_within_its_gap(seeds):
    """At the default tolerance and at a thousandth of it: the first lies above, by no more than it says."""
    for seed in seeds:
        g = generator(seed)
        n, m = (int(k) for k in torch.randint(2, 25, (2,), generator=g))
        x, y = (torch.randn(k, 3, generator=g, dtype=D) for k in (n, m))
        a, b = (torch.rand(k, generator=g, dtype=D) + 0.1 for k in (n, m))
        rho = 10 ** (3 * float(torch.rand((), generator=g)) - 1)
        slicer = Linear(directions(9, 3, generator=g, dtype=D))
        usual, _, _ = unbalanced_sliced_wasserstein(x, y, a, b, slicer=slicer, rho=rho)
        close, _, _ = unbalanced_sliced_wasserstein(x, y, a, b, slicer=slicer, rho=rho, tol=1e-7, steps=2000)
        over = float(usual.cost - close.cost)
        assert -1.1e-7 * float(close.cost) - 1e-12 <= over <= float(usual.gap) + 1e-12, f"seed {seed}"
        assert float(usual.gap) <= 1e-4 * float(usual.cost) + 1e-12


def test_what_is_left_is_told():
    x, y = (torch.randn(k, 3, generator=generator(k), dtype=D) for k in (40, 30))
    slicer = Linear(directions(6, 3, generator=generator(), dtype=D))
    with pytest.warns(ConvergenceWarning, match="after steps=2"):
        found, _, _ = unbalanced_sliced_wasserstein(x, y, slicer=slicer, rho=0.1, steps=2)
    with pytest.warns(ConvergenceWarning, match="allow more steps"):
        each = estimate(x, y, slicer=slicer, line=Unbalanced(0.1, steps=2))
    for stopped in (found, each):
        assert stopped.gap > 1e-4 * stopped.cost


def test_large_prices_in_single_precision():
    """The price of a change is no difference of large numbers: with rho = 1e6 the rest is the balanced distance."""
    x, y = (torch.randn(k, 2, generator=generator(k)) for k in (30, 20))
    slicer = Linear(directions(6, 2, generator=generator()))
    balanced = estimate(x, y, slicer=slicer).cost
    found, _, _ = unbalanced_sliced_wasserstein(x, y, slicer=slicer, rho=1e6)
    torch.testing.assert_close(found.cost, balanced, rtol=1e-4, atol=0)
