"""The face against POT and linear programs."""

import itertools
import math

import numpy as np
import pytest
import torch

import monge
from monge.coupling import MonotoneCoupling, PermutationCoupling, PotentialCoupling, SparseCoupling
from monge.errors import CapabilityError, InfeasibleError, InputError, ShapeError
from monge.geometry import CostMatrix, Line, PointCloud
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import Auto, Simplex, Sinkhorn, Sorted

ot = pytest.importorskip("ot")


def cloud(n, d, seed, scale=1.0, integer=False):
    x = scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (3 * x / scale).round() * scale if integer else x


def weights(n, seed, zero=False):
    a = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if zero and n > 1:
        a[0] = 0
    return a / a.sum()


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (7, 7), (12, 9)])
def test_exact_cost_agrees_with_pot(n, m, integer, scale):
    for d, zero in itertools.product((1, 2, 5), (False, True)):
        x, y = cloud(n, d, n, scale, integer), cloud(m, d, m + 40, scale, integer)
        a, b = weights(n, 1, zero), weights(m, 2, zero)
        solution = monge.solve(Linear(PointCloud(x, y), a, b))
        unit = torch.cdist(x / scale, y / scale).square()  # its tolerances are absolute
        expected = ot.emd2(a.numpy(), b.numpy(), unit.numpy()) * scale**2
        assert solution.value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale**2)
        assert solution.report.duality_gap.item() <= 1e-9 * max(expected, scale**2)
        row, col = solution.coupling.marginals()
        torch.testing.assert_close(row, a, rtol=0, atol=1e-12)
        torch.testing.assert_close(col, b, rtol=0, atol=1e-12)
        f, g = solution.f[a > 0], solution.g[b > 0]
        slack = torch.cdist(x, y).square()[a > 0][:, b > 0] - f[:, None] - g
        assert slack.min() > -1e-9 * scale**2


def linear_oracle(cost, a, b, source, target, mass=None):
    """The relaxed problem as a linear program in (P, too little, too much) on each side."""
    from scipy.optimize import linprog

    n, m = cost.shape
    identity_n, identity_m = np.eye(n), np.eye(m)
    rows, columns = np.kron(identity_n, np.ones(m)), np.kron(np.ones(n), identity_m)
    zero = np.zeros
    equal = np.block(
        [
            [rows, identity_n, -identity_n, zero((n, m)), zero((n, m))],
            [columns, zero((m, n)), zero((m, n)), identity_m, -identity_m],
        ]
    )
    right = np.r_[a, b]
    if mass is not None:
        equal = np.vstack([equal, np.r_[np.ones(n * m), zero(2 * n + 2 * m)]])
        right = np.r_[right, mass]
    price = np.r_[cost.ravel(), [source[0]] * n, [source[1]] * n, [target[0]] * m, [target[1]] * m]
    bounds = [(0, 0 if p == math.inf else None) for p in price]
    found = linprog(np.where(np.isinf(price), 0, price), A_eq=equal, b_eq=right, bounds=bounds)
    assert found.status == 0
    return found.fun


SIDES = {
    "fixed": (Fixed, (math.inf, math.inf)),
    "at most": (AtMost, (0.0, math.inf)),
    "tv": (lambda a: Relaxed(a, 0.7, "tv"), (0.7, 0.7)),
    "free": (Free, (0.0, 0.0)),
}


@pytest.mark.parametrize("source", SIDES)
@pytest.mark.parametrize("target", SIDES)
def test_linear_prices_agree_with_linear_programs(source, target):
    for seed in range(4):
        x, y = cloud(6, 2, seed), cloud(5, 2, seed + 9)
        a, b = weights(6, seed), weights(5, seed + 5)
        if (source, target) != ("fixed", "fixed"):
            b = 1.7 * b
        cost = torch.cdist(x, y)
        possible = (source, target) != ("at most", "fixed")
        prices = SIDES[source][1], SIDES[target][1]
        expected = linear_oracle(cost.numpy(), a.numpy(), b.numpy(), *prices) if possible else None
        problem = Linear(CostMatrix(cost), SIDES[source][0](a), SIDES[target][0](b))
        if expected is None:
            with pytest.raises(InfeasibleError):
                monge.solve(problem, Simplex())
            continue
        solution = monge.solve(problem, Simplex())
        assert solution.value.item() == pytest.approx(expected, abs=1e-9)
        assert solution.report.duality_gap.item() < 1e-9


@pytest.mark.parametrize("mass", [0.1, 0.6, 1.0])
def test_partial_mass_agrees_with_pot(mass):
    x, y = cloud(8, 2, 0), cloud(6, 2, 1)
    a, b = weights(8, 0), 1.3 * weights(6, 1)
    solution = monge.solve(Linear(PointCloud(x, y), AtMost(a), AtMost(b), mass=mass))
    expected = linear_oracle(
        torch.cdist(x, y).square().numpy(), a.numpy(), b.numpy(), (0, math.inf), (0, math.inf), mass
    )
    assert solution.value.item() == pytest.approx(expected, abs=1e-9)
    assert solution.coupling.mass.item() == pytest.approx(mass)
    assert solution.report.duality_gap.item() < 1e-9


def test_forbidden_pairs():
    cost = torch.tensor([[math.inf, 1.0], [2.0, math.inf]], dtype=torch.float64)
    assert monge.solve(Linear(CostMatrix(cost))).value.item() == pytest.approx(1.5)
    with pytest.raises(InfeasibleError):
        monge.solve(Linear(CostMatrix(torch.tensor([[math.inf, math.inf], [2.0, 1.0]], dtype=torch.float64))))


def test_batches_equal_loops():
    x = torch.stack([cloud(6, 2, k) for k in range(3)])
    y = cloud(4, 2, 9)
    together = monge.solve(Linear(PointCloud(x, y)), Simplex())
    assert together.coupling.shape == (3, 6, 4)
    for k in range(3):
        one = monge.solve(Linear(PointCloud(x[k], y)), Simplex())
        torch.testing.assert_close(together.value[k], one.value)
        torch.testing.assert_close(together.coupling[k].dense(), one.coupling.dense())


@pytest.mark.parametrize("solver", [Simplex(), Sorted()])
def test_gradients_of_exact_values(solver):
    x, y = cloud(5, 1, 0).requires_grad_(), cloud(4, 1, 1).requires_grad_()
    a, b = weights(5, 0).requires_grad_(), weights(4, 1).requires_grad_()

    def value(x, y, a, b):
        return monge.solve(Linear(PointCloud(x, y), a / a.sum(), b / b.sum()), solver).value

    assert torch.autograd.gradcheck(value, (x, y, a, b))


def test_lines_are_sorted_and_equal_to_the_simplex():
    for n, m, p in itertools.product((1, 6), (6, 9), (1.0, 2.0, 3.0)):
        geometry = Line(cloud(n, 1, n)[:, 0], cloud(m, 1, m)[:, 0], p)
        fast = monge.solve(Linear(geometry, weights(n, 0), weights(m, 1)))
        slow = monge.solve(Linear(geometry, weights(n, 0), weights(m, 1)), Simplex())
        assert isinstance(fast.coupling, MonotoneCoupling)
        torch.testing.assert_close(fast.value, slow.value)
        assert fast.report.duality_gap < 1e-9
    assert isinstance(monge.couple(cloud(5, 1, 0), cloud(5, 1, 1)), PermutationCoupling)


def test_the_router_explains_itself():
    problem = Linear(PointCloud(cloud(20, 2, 0), cloud(20, 2, 1)), epsilon=0.1)
    table = monge.explain(problem)
    assert isinstance(table.chosen, Sinkhorn)
    assert "exact: it needs epsilon=0" in str(table)
    assert isinstance(monge.couple(cloud(5, 2, 0), cloud(6, 2, 1)), SparseCoupling)
    assert isinstance(monge.couple(cloud(5, 2, 0), cloud(6, 2, 1), epsilon=0.3), PotentialCoupling)
    assert Auto().supports(problem).supported


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_wasserstein_is_rooted(p):
    x, y = cloud(7, 3, 0), cloud(5, 3, 1)
    expected = ot.emd2([], [], (torch.cdist(x, y) ** p).numpy()) ** (1 / p)
    assert monge.wasserstein(x, y, p=p).item() == pytest.approx(expected, rel=1e-9)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(monge.wasserstein(x, x.detach(), p=p), x)
    assert slope.isfinite().all()


def test_divergence_agrees_with_pot_and_vanishes_on_itself():
    x, y = cloud(30, 2, 0), cloud(20, 2, 1) + 0.5
    found = monge.divergence(x, y, epsilon=0.5, solver=Sinkhorn(tol=1e-10))
    a, b = np.full(30, 1 / 30), np.full(20, 1 / 20)

    def entropic(u, v, p, q):
        cost = torch.cdist(u, v).square().numpy()
        plan = ot.sinkhorn(p, q, cost, 0.5, method="sinkhorn_log", numItermax=2000, stopThr=1e-12, warn=False)
        ratio = plan / np.outer(p, q)
        return (plan * cost).sum() + 0.5 * (plan * np.log(ratio)).sum()

    expected = entropic(x, y, a, b) - (entropic(x, x, a, a) + entropic(y, y, b, b)) / 2
    assert found.item() == pytest.approx(expected, rel=1e-6)
    x.requires_grad_()
    same = monge.divergence(x, x.detach().clone(), epsilon=0.5)
    assert abs(same.item()) < 1e-9
    assert torch.autograd.grad(same, x)[0].abs().max() < 1e-7


def test_unbalanced_divergence_is_zero_on_itself_and_positive_elsewhere():
    x, y = cloud(12, 2, 0), cloud(9, 2, 1) + 1
    a, b = 2 * weights(12, 0), weights(9, 1)
    assert abs(monge.divergence(x, x, a, a, epsilon=0.3, rho=2.0).item()) < 1e-6
    found = monge.divergence(x, y, a, b, epsilon=0.3, rho=2.0, solver=Sinkhorn(tol=1e-10))
    assert found > 0.1
    values = [
        monge.solve(Linear(PointCloud(u, v), Relaxed(p, 2.0), Relaxed(q, 2.0), epsilon=0.3), Sinkhorn(tol=1e-10)).value
        for u, v, p, q in ((x, y, a, b), (x, x, a, a), (y, y, b, b))
    ]
    plain = values[0] - (values[1] + values[2]) / 2 + 0.15 * (a.sum() - b.sum()) ** 2
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: monge.couple(x, x * math.nan), InputError, "neither NaN nor inf"),
        (lambda x: monge.couple(x, x, -torch.ones(5).double()), InputError, "non-negative"),
        (lambda x: monge.couple(x, x, torch.zeros(5).double()), InputError, "positive mass"),
        (lambda x: monge.couple(x, x, 2 * torch.ones(5).double() / 5), InfeasibleError, "same mass"),
        (lambda x: monge.couple(x, x[:0]), ShapeError, "at least one point"),
        (lambda x: monge.couple(x, x[:, :1]), ShapeError, "dimension"),
        (lambda x: monge.couple(x[:, 0], x), ShapeError, r"\[:, None\]"),
        (lambda x: monge.couple(x, {"y": x}), TypeError, "torch.as_tensor"),
        (lambda x: monge.couple(x, x, epsilon=-1.0), InputError, "epsilon"),
        (lambda x: monge.couple(x, x, cost="l2"), InputError, "'l2' is unknown"),
        (lambda x: monge.couple(x, x, mass=3.0), InfeasibleError, "mass"),
        (lambda x: monge.couple(x, x, mass=0.5, rho=1.0), InputError, "either rho or mass"),
        (lambda x: monge.couple(x), InputError, "y must be given"),
        (lambda x: monge.couple(x, x, solver=Sinkhorn()), CapabilityError, "Simplex"),
        (lambda x: monge.couple(x, x, solver=Sinkhorn), InputError, "parentheses"),
        (lambda x: monge.solve(x), InputError, "monge.couple"),
        (lambda x: monge.divergence(x, x, epsilon=0.0), InputError, "use wasserstein"),
    ],
)
def test_errors_say_what_to_do(call, error, told):
    with pytest.raises(error, match=told):
        call(cloud(5, 2, 0))
