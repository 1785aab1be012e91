"""Each marginal: its update solves its own equation, its conjugate is a conjugate, its slopes are derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.errors import InputError, ShapeError
from monge.geometry import PointCloud
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import solve

A = torch.tensor([0.1, 0.0, 0.5, 1.5], dtype=torch.float64)
SMOOTH = [Fixed(A), Relaxed(A, 0.7), Relaxed(A, 0.7, "l2")]
KINKED = [Relaxed(A, 0.7, "tv"), AtMost(A), Free(A)]


def name(marginal):
    return f"{type(marginal).__name__}-{getattr(marginal, 'penalty', '')}"


@pytest.mark.parametrize("marginal", SMOOTH + KINKED, ids=name)
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 30.0])
def test_update_maximises_its_block(marginal, epsilon):
    """No small change of the updated potential raises -S*(-f) - epsilon <a, exp((f - q) / epsilon)>."""
    q = torch.randn(5, 4, dtype=torch.float64) * 2
    eps = torch.tensor(epsilon, dtype=torch.float64)

    def objective(f):
        pointwise = torch.stack([marginal._conjugate(torch.where(torch.arange(4) == k, f, best)) for k in range(4)], -1)
        rest = marginal._conjugate(best)[..., None]
        return pointwise - rest - eps * A * (torch.exp((f - q) / eps) - torch.exp((best - q) / eps))

    best = marginal._maximiser(q, eps)
    assert best.isfinite().all()
    for step in (1e-3, -1e-3, 0.3, -0.3):
        change = objective(best + step * epsilon)
        assert (torch.where(A > 0, change, 0.0) <= 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-10, 10), st.floats(1e-8, 1e3), st.floats(1e-6, 1e6), st.floats(1e-6, 1e4)
)  # fmt: skip
def test_l2_update_solves_its_equation_to_rounding(q, a, rho, epsilon):
    weights, eps = torch.tensor([a], dtype=torch.float64), torch.tensor(epsilon, dtype=torch.float64)
    f = float(Relaxed(weights, rho, "l2")._maximiser(torch.tensor([q], dtype=torch.float64), eps))
    k = rho * a
    # (f - q) / epsilon = log(1 - f / k), whichever side keeps its digits.
    if f < 0.9 * k:
        assert f - q == pytest.approx(epsilon * math.log1p(-f / k), rel=1e-11, abs=1e-13 * (abs(q) + k * 1e-2))
    else:
        z = math.log(k / epsilon) + (k - q) / epsilon
        w = (k - f) / epsilon
        assert w == 0 or w + math.log(w) == pytest.approx(z, rel=1e-6, abs=1e-3 * k / epsilon)


@pytest.mark.parametrize("marginal", SMOOTH + KINKED, ids=name)
def test_conjugate_bounds_the_penalty(marginal):
    """Fenchel: S(mu) >= -S*(-f) - <mu, f>, with equality at the marginal that f implies."""
    f = marginal._project(torch.randn(200, 4, dtype=torch.float64))
    mu = torch.rand(200, 4, dtype=torch.float64) * (A > 0)
    lower = marginal._conjugate(f) - (mu * f).sum(-1)
    assert (marginal._penalty(mu) >= lower - 1e-12).all()
    implied = marginal._mass_at(f)
    smooth = implied.isfinite().all(-1)
    if smooth.any():
        equal = marginal._conjugate(f) - (implied * f).sum(-1)
        torch.testing.assert_close(marginal._penalty(implied)[smooth], equal[smooth], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("marginal", SMOOTH, ids=name)
def test_slopes_are_derivatives(marginal):
    f = (torch.rand(4, dtype=torch.float64) * 0.06 - 0.03).requires_grad_()
    (mass,) = torch.autograd.grad(marginal._conjugate(f), f)
    torch.testing.assert_close(mass, marginal._mass_at(f.detach()))
    if not isinstance(marginal, Fixed):
        (slope,) = torch.autograd.grad(marginal._mass_at(f).sum(), f)
        torch.testing.assert_close(-slope, marginal._curvature(f.detach()))


def test_unreachable_points_of_relaxed_sides_are_dropped_at_their_price():
    q = torch.tensor([math.inf, 0.0, math.inf, 1.0], dtype=torch.float64)
    eps = torch.tensor(0.1, dtype=torch.float64)
    for penalty, price in (("kl", 0.7 * 0.5), ("l2", 0.35 * 0.25), ("tv", 0.7 * 0.5)):
        marginal = Relaxed(A, 0.7, penalty)
        f = marginal._maximiser(q, eps)
        assert f.isfinite().all()
        alone = torch.where(torch.arange(4) == 2, f, 0.0)
        assert float(marginal._conjugate(alone)) == pytest.approx(price)


def test_messages_name_the_argument_and_a_remedy():
    with pytest.raises(InputError, match="rho must lie in"):
        Relaxed(A, 0.0)
    with pytest.raises(InputError, match="use Fixed for rho = inf"):
        Relaxed(A, torch.tensor(math.inf))
    with pytest.raises(InputError, match="penalty='huber' is unknown"):
        Relaxed(A, 1.0, "huber")
    with pytest.raises(InputError, match="weights must be non-negative"):
        Fixed(-A)


PRICES = {
    "a pair": ((1.0, 2.0), lambda a: Relaxed(a, 1.0), lambda b: Relaxed(b, 2.0)),
    "one fixed": ((math.inf, 2.0), Fixed, lambda b: Relaxed(b, 2.0)),
    "one free": ((2.0, 0.0), lambda a: Relaxed(a, 2.0), Free),
    "fixed and free": ((math.inf, 0), Fixed, Free),
    "both fixed": (math.inf, Fixed, Fixed),
    "per problem": ((torch.tensor([1.0, 2.0]).double(), 3.0), lambda a: Relaxed(a, torch.tensor([1.0, 2.0]).double()),
                    lambda b: Relaxed(b, 3.0)),
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PRICES)
def test_each_side_has_its_price(name, weighted):
    rho, source, target = PRICES[name]
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, n, 2, dtype=torch.float64, generator=generator) for n in (5, 4))
    a, b = (torch.full((n,), 1 / n, dtype=torch.float64) for n in (5, 4))
    given = (a, b) if weighted else (None, None)
    found = solve(Linear.between(x, y, *given, epsilon=0.3, rho=rho)).coupling.dense()
    expected = solve(Linear(PointCloud(x, y), source(a), target(b), epsilon=0.3)).coupling.dense()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("rho", "told"),
    [
        (0.0, "positive on one side"),
        ((0, 0.0), "positive on one side"),
        ((1.0, 2.0, 3.0), "but has 3"),
        (-1.0, "rho must lie in"),
        ((1.0, math.nan), "rho must lie in"),
        ((-math.inf, 1.0), "rho must lie in"),
    ],
)
def test_prices_that_have_no_meaning(rho, told):
    with pytest.raises(InputError, match=told):
        Linear.between(torch.rand(3, 2), torch.rand(4, 2), rho=rho)


def test_prices_of_a_batch_make_a_batch_of_problems():
    x, y = torch.rand(5, 2, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64)
    prices = torch.tensor([0.5, 2.0], dtype=torch.float64)
    for epsilon in (0.1, 0.0):
        both = solve(Linear.between(x, y, rho=prices, epsilon=epsilon))
        assert both.coupling.batch_shape == (2,)
        for k, price in enumerate(prices.tolist()):
            alone = solve(Linear.between(x, y, rho=price, epsilon=epsilon))
            torch.testing.assert_close(both.value[k], alone.value, atol=1e-6, rtol=1e-6)
    with pytest.raises(ShapeError, match="weights and rho must broadcast"):
        Relaxed(torch.ones(3, 4), torch.ones(2))
