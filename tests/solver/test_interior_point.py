"""Exact transport between marginals of curved price, beside closed forms, other methods and differences."""

from __future__ import annotations

import math

import pytest
import torch
from linear_problems import D, clouds, weights

from monge import couple, explain, solve
from monge.coupling import DenseCoupling
from monge.errors import CapabilityError, InfeasibleError, InputError
from monge.geometry import CostMatrix
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import InteriorPoint, Simplex, Sinkhorn, Status

SIDES = {
    "kl": lambda a, b, rho: (Relaxed(a, rho), Relaxed(b, rho)),
    "uneven": lambda a, b, rho: (Relaxed(a, rho), Relaxed(b, 7 * rho)),
    "l2": lambda a, b, rho: (Relaxed(a, rho, "l2"), Relaxed(b, rho, "l2")),
    "kl, l2": lambda a, b, rho: (Relaxed(a, rho), Relaxed(b, rho, "l2")),
    "kl, fixed": lambda a, b, rho: (Relaxed(a, rho), Fixed(b)),
    "fixed, l2": lambda a, b, rho: (Fixed(a), Relaxed(b, rho, "l2")),
    "kl, free": lambda a, b, rho: (Relaxed(a, rho), Free(b)),
    "at most, kl": lambda a, b, rho: (AtMost(a), Relaxed(b, rho)),
    "tv, kl": lambda a, b, rho: (Relaxed(a, 0.3, "tv"), Relaxed(b, rho)),
    "kl, tv": lambda a, b, rho: (Relaxed(a, rho), Relaxed(b, 0.3, "tv")),
}


def check(problem):
    """The solution, if it is proved: by its own report, and by plain formulas of plan and potentials."""
    solution = solve(problem)
    P, f, g = solution.coupling, solution.f, solution.g
    scale = solution.value.abs() + 1e-3 * problem.source.total
    assert solution.report.status is Status.OPTIMAL
    assert (P.dense() >= 0).all()
    assert (problem.primal(P) - problem.dual(f, g) <= 1e-8 * scale).all()
    torch.testing.assert_close(problem.primal(P), solution.value, rtol=1e-9, atol=1e-12)
    return solution


@pytest.mark.parametrize("rho", [1e-3, 0.1, 2.0, 1e4])
@pytest.mark.parametrize("sides", SIDES)
def test_proved_for_all_sides(sides, rho):
    a, b = weights(9), 1.7 * weights(12)
    a[2] = b[5] = 0
    solution = check(Linear(clouds(9, 12, 2), *SIDES[sides](a, b, rho)))
    row, col = solution.coupling.marginals()
    assert row[2] == col[5] == 0
    assert isinstance(solution.report.iterations.item(), int)
    assert solution.report.iterations > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (20, 3)])
def test_lopsided_and_tiny(shape):
    n, m = shape
    for sides in SIDES.values():
        check(Linear(clouds(n, m, 1), *sides(weights(n), 0.5 * weights(m), 0.7)))


def test_one_pair_in_closed_form():
    a, b, cost, rho = 0.7, 1.9, 0.8, 0.5
    sides = [Relaxed(torch.tensor([w], dtype=D), rho) for w in (a, b)]
    solution = check(Linear(CostMatrix(torch.tensor([[cost]], dtype=D)), *sides))
    mass = math.sqrt(a * b) * math.exp(-cost / (2 * rho))
    assert solution.coupling.mass.item() == pytest.approx(mass, rel=1e-7)
    assert solution.value.item() == pytest.approx(rho * (a + b - 2 * mass), rel=1e-10)

    sides = [Relaxed(torch.tensor([w], dtype=D), rho, "l2") for w in (a, b)]
    solution = check(Linear(CostMatrix(torch.tensor([[cost]], dtype=D)), *sides))
    assert solution.coupling.mass.item() == pytest.approx((a + b - cost / rho) / 2, rel=1e-7)


def test_l2_gives_up_what_is_too_dear():
    sides = [Relaxed(torch.tensor([1.0], dtype=D), 0.2, "l2") for _ in range(2)]
    solution = check(Linear(CostMatrix(torch.tensor([[5.0]], dtype=D)), *sides))
    assert solution.coupling.mass.item() == pytest.approx(0, abs=1e-8)
    assert solution.value.item() == pytest.approx(0.2)


@pytest.mark.parametrize("penalty", ["kl", "l2"])
def test_not_worse_than_pot(penalty):
    ot = pytest.importorskip("ot")
    a, b, cost, rho = weights(15), 1.7 * weights(20), clouds(15, 20, 2).dense(), 3.0
    problem = Linear(CostMatrix(cost), Relaxed(a, rho, penalty), Relaxed(b, rho, penalty))
    theirs = ot.unbalanced.mm_unbalanced(
        a.numpy(), b.numpy(), cost.numpy(), rho, div=penalty, numItermax=20_000, stopThr=1e-13
    )
    least = problem.primal(DenseCoupling(torch.as_tensor(theirs)))
    value = check(problem).value
    assert value <= least * (1 + 1e-9)
    torch.testing.assert_close(value, least, rtol=1e-3, atol=0)


def test_limit_of_entropic_plans():
    a, b, geometry = weights(8), 1.4 * weights(9), clouds(8, 9, 2)
    sides = Relaxed(a, 0.6), Relaxed(b, 0.6)
    solution = check(Linear(geometry, *sides))
    entropic = solve(Linear(geometry, *sides, epsilon=1e-3), Sinkhorn(max_iter=20_000)).coupling
    torch.testing.assert_close(solution.coupling.transport_cost(), entropic.transport_cost(), rtol=2e-2, atol=0)
    torch.testing.assert_close(solution.coupling.mass, entropic.mass, rtol=1e-2, atol=0)


def test_strong_prices_give_balanced_transport():
    a, b, geometry = weights(10), weights(11), clouds(10, 11, 2)
    balanced = solve(Linear(geometry, a, b), Simplex()).value
    relaxed = check(Linear(geometry, Relaxed(a, 1e6), Relaxed(b, 1e6))).value
    torch.testing.assert_close(relaxed, balanced, rtol=1e-5, atol=0)


def test_few_entries_and_batches():
    a, b = weights(3, 1, 7), 1.3 * weights(2, 8)
    geometry = CostMatrix(torch.rand(2, 7, 8, dtype=D))
    rho = torch.tensor([0.1, 4.0], dtype=D)
    problem = Linear(geometry, Relaxed(a, rho), Relaxed(b, 0.5, "l2"))
    solution = check(problem)
    assert solution.value.shape == (3, 2)
    assert ((solution.coupling.dense() > 0).sum((-1, -2)) <= 7 + 8 - 1).all()
    for at in ((0, 0), (2, 1)):
        torch.testing.assert_close(check(problem._select(at)).value, solution.value[at])


def test_forbidden_pairs():
    cost = clouds(7, 8, 2).dense()
    cost[torch.rand(7, 8) < 0.5] = math.inf
    cost[3] = math.inf
    cost[:, 4] = math.inf
    cost[0, 0] = 1.0
    a, b = weights(7), 1.5 * weights(8)
    for sides in ("kl", "l2", "kl, free"):
        P = check(Linear(CostMatrix(cost), *SIDES[sides](a, b, 0.8))).coupling.dense()
        assert (P[cost == math.inf] == 0).all()
        assert P.sum() > 0
    with pytest.raises(InfeasibleError, match="row 3 holds"):
        solve(Linear(CostMatrix(cost), Fixed(a), Relaxed(b, 0.8)))


def test_negative_costs():
    a, b = weights(6), weights(5)
    check(Linear(CostMatrix(torch.randn(6, 5, dtype=D)), Relaxed(a, 0.3), Relaxed(b, 0.3)))
    check(Linear(CostMatrix(torch.full((6, 5), -2.0, dtype=D)), Relaxed(a, 1.0), Fixed(b)))


def test_equal_points():
    a, b = weights(5), weights(5)
    solution = check(Linear(CostMatrix(torch.zeros(5, 5, dtype=D)), Relaxed(a, 0.3), Relaxed(2 * b, 0.3)))
    assert solution.coupling.mass.item() == pytest.approx(math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_answers_in_the_dtype_of_the_problem(dtype):
    P = couple(torch.rand(6, 2, dtype=dtype), torch.rand(7, 2, dtype=dtype), rho=0.5)
    assert P.dtype == dtype
    assert P.transport_cost() >= 0


@pytest.mark.parametrize("sides", ["kl", "l2", "kl, fixed", "at most, kl", "tv, kl"])
def test_derivatives_of_the_value(sides):
    cost, a, b = torch.rand(5, 6, dtype=D), weights(5), 1.4 * weights(6)
    if sides == "kl, fixed":
        b = b / b.sum()

    def value(cost, a, b, rho):
        return solve(Linear(CostMatrix(cost), *SIDES[sides](a, b, rho))).value

    inputs = [t.clone().requires_grad_() for t in (cost, a, b, torch.tensor(0.8, dtype=D))]
    torch.autograd.gradcheck(value, inputs, eps=1e-4, atol=1e-4, rtol=1e-3)
    # The derivative by the costs is the plan.
    (by_cost,) = torch.autograd.grad(value(*inputs), inputs[:1])
    P = solve(Linear(CostMatrix(cost), *SIDES[sides](a, b, 0.8))).coupling
    torch.testing.assert_close(by_cost, P.dense(), rtol=1e-6, atol=1e-9)


def test_the_plan_refuses_derivatives():
    cost = torch.rand(4, 4, dtype=D, requires_grad=True)
    P = solve(Linear.between(CostMatrix(cost), rho=0.5)).coupling
    with pytest.raises(CapabilityError, match="marginals of curved price moves with everything"):
        P.dense().sum().backward()


def test_chosen_only_where_prices_are_curved():
    geometry, a, b = clouds(5, 6, 2), weights(5), weights(6)
    curved = Linear(geometry, Relaxed(a, 0.4), Fixed(b))
    assert isinstance(explain(curved).chosen, InteriorPoint)
    assert isinstance(explain(Linear(geometry, a, b)).chosen, Simplex)
    assert isinstance(explain(Linear(geometry, Relaxed(a, 1.0, "tv"), b)).chosen, Simplex)
    with pytest.raises(CapabilityError, match="needs a marginal of curved price"):
        solve(Linear(geometry, a, b), InteriorPoint())
    with pytest.raises(CapabilityError, match="needs a positive epsilon"):
        solve(curved, Sinkhorn())
    with pytest.raises(CapabilityError, match="more than max_bytes"):
        solve(curved, InteriorPoint(max_bytes=100))


def test_statuses_are_measured():
    problem = Linear(clouds(20, 20, 2), Relaxed(weights(20), 0.4), Relaxed(weights(20), 0.4))
    best = solve(problem).value
    loose = solve(problem, InteriorPoint(tol=0.05))
    assert loose.report.status is Status.APPROXIMATE
    assert 0 < loose.value - best <= loose.report.duality_gap
    early = solve(problem, InteriorPoint(max_iter=2))
    assert early.report.status is Status.MAX_ITER
    assert early.report.iterations <= 2
    assert early.value - best <= early.report.duality_gap


@pytest.mark.parametrize("setting", [{"tol": 0.0}, {"tol": 2.0}, {"max_iter": 0}, {"max_bytes": 0}])
def test_settings_are_checked(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        InteriorPoint(**setting)


@pytest.mark.parametrize(("cut", "floor"), [(1e-12, 0.0), (1e-12, 1e-30), (0.0, 1e-30), (0.0, 1e-12)])
@pytest.mark.parametrize("penalty", ["kl", "l2"])
def test_weights_may_differ_by_any_number_of_powers_of_ten(floor, cut, penalty):
    # The tails of peaks fall below the least number.
    place = torch.linspace(0, 30, 60, dtype=torch.float64)

    def peaks(*centres):
        held = sum(torch.exp(-(((place - centre) / 0.4) ** 2) / 2) for centre in centres)
        return torch.where(held < cut, 0.0, held).clamp(min=floor)

    a, b = peaks(4.0, 9.8, 18.5), peaks(4.5, 10.5, 25.0)
    solution = check(Linear.between(place[:, None], place[:, None], a, b, rho=2.0, penalty=penalty))
    if penalty == "l2":
        return  # where a bin without weight takes nothing, and one with hardly any takes mass at its price
    wide = (a.clamp(min=1e-7), b.clamp(min=1e-7))
    whole = check(Linear.between(place[:, None], place[:, None], *wide, rho=2.0))
    assert solution.value.item() == pytest.approx(whole.value.item(), rel=2e-3)
