"""Partial transport on the line and the circle against assignment problems, linear programs and its own definition."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from monge.errors import CapabilityError, InfeasibleError
from monge.kernels import circle_distance, line_distance, partial_cost, partial_plan, partial_profile
from monge.kernels.line import row_problem
from monge.kernels.line.partial import reference

FAMILIES = ("random", "integer", "separated", "heavy", "arc", "wrap", "rounding", "tiny", "single", "absent")
ORDERS = (1.0, 1.5, 2.0, 3.0)


def instance(rng, family):
    """Positions in [0, 1), weights, and a penalty that destroys some of the mass."""
    n, m = rng.integers(1, 8, 2)
    if family == "single":
        n, m = (1, m) if rng.random() < 0.5 else (n, 1)
    x, y = rng.random(n), rng.random(m)
    a, b = rng.random(n) + 0.01, rng.random(m) + 0.01
    penalty = 0.5 * rng.random() ** 2
    if family == "integer":
        x, y = rng.integers(0, 8, n) / 8, rng.integers(0, 8, m) / 8
        a, b = rng.integers(1, 4, n).astype(float), rng.integers(1, 4, m).astype(float)
        penalty = rng.integers(0, 6) / 16
    elif family == "separated":
        x, y = x / 2, 0.5 + y / 2
    elif family == "heavy":
        a[rng.integers(n)] = 100
    elif family == "arc":
        x, y, penalty = (0.99 + 0.02 * x) % 1, (0.99 + 0.02 * y) % 1, 0.02 * penalty
    elif family == "wrap":
        x[rng.integers(n)], y[rng.integers(m)] = 0.0, np.nextafter(1.0, 0.0)
    elif family == "rounding":
        a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    elif family == "tiny":
        penalty = 1e-4 * penalty
    elif family == "absent" and n > 1:
        a[rng.integers(n)] = 0
    return x, y, a, b, penalty


def cost_matrix(x, y, p, period=0.0):
    gap = np.abs(x[:, None] - y)
    return (np.minimum(gap, period - gap) if period else gap) ** p


def profile_by_assignment(cost):
    """The cheapest cost of k pairs for every k: unmatched rows and columns go to dummies."""
    n, m = cost.shape
    values = [0.0]
    for k in range(1, min(n, m) + 1):
        whole = np.zeros((n + m - k, n + m - k))
        whole[:n, :m] = cost
        whole[n:, m:] = 1e6
        i, j = linear_sum_assignment(whole)
        values.append(whole[i, j].sum())
    return np.array(values)


def linear_program(cost, a, b, penalty=None, mass=None):
    n, m = cost.shape
    limits = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    price = cost.ravel() if penalty is None else cost.ravel() - 2 * penalty
    total = {} if mass is None else {"A_eq": np.ones((1, n * m)), "b_eq": [mass]}
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(price, A_ub=limits, b_ub=np.r_[a, b], bounds=(0, None), options=tight, **total)
    return found.fun + (0.0 if penalty is None else penalty * (a.sum() + b.sum()))


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float64) for array in arrays]


def check_profile(rng, family, p, period):
    x, y, *_ = instance(rng, family)
    u, v = tensors(x, y)
    found = partial_profile(u, v, p=p, period=period)
    expected = profile_by_assignment(cost_matrix(x, y, p, period))
    costs = np.r_[0.0, found.marginal.cumsum(-1).numpy()]
    assert np.abs(costs - expected).max() < 1e-9
    assert (np.diff(found.marginal.numpy()) > -1e-9).all()
    # Nested supports: the first k atoms, the circle opened at one and the same place, cost C_k when matched in order.
    for k in range(1, len(found.marginal) + 1):
        gap = (found.x[found.source[:k]].sort().values - found.y[found.target[:k]].sort().values).abs()
        assert abs(float((gap**p).sum()) - expected[k]) < 1e-9


def check_plan(rng, family, p, period, rule):
    """Value, plan and potentials of one weighted problem."""
    x, y, a, b, penalty = instance(rng, family)
    if period and p == 1 and rng.random() < 0.8:  # the greedy on the circle wants equal masses
        unit = rng.random() + 0.1
        a, b = unit * (a > 0), unit * (b > 0)
    cost = cost_matrix(x, y, p, period)
    mass = min(a.sum(), b.sum()) * rng.choice([0.0, 0.3, 0.5, 1.0, rng.random()])
    given, asked = ({"penalty": penalty}, penalty) if rule == "penalty" else ({"mass": mass}, mass)
    expected = linear_program(cost, a, b, **given)
    u, v, level = tensors(x, y, asked)
    weights = [w.requires_grad_() for w in tensors(a, b)]
    value = partial_cost(u, v, *weights, rule=rule, level=level, p=p, period=period)
    assert abs(value.item() - expected) < 1e-8
    plan = partial_plan(u, v, *tensors(a, b), rule=rule, level=level, p=p, period=period, potentials=True)
    rows, columns = np.zeros_like(a), np.zeros_like(b)
    np.add.at(rows, plan.i.numpy(), plan.w.numpy())
    np.add.at(columns, plan.j.numpy(), plan.w.numpy())
    assert (rows <= a + 1e-12).all()
    assert (columns <= b + 1e-12).all()
    paid = (cost[plan.i.numpy(), plan.j.numpy()] * plan.w.numpy()).sum()
    reached = plan.level.item()
    if rule == "penalty":
        assert abs(paid + penalty * (a.sum() + b.sum() - 2 * rows.sum()) - expected) < 1e-8
        dual = 0.0
    else:
        assert abs(rows.sum() - mass) < 1e-9
        dual = 2 * reached * mass - reached * (a.sum() + b.sum())
    f, g = plan.f.numpy(), plan.g.numpy()
    assert (f[:, None] + g - cost).max() < 1e-9
    assert max(f.max(), g.max()) < reached + 1e-9
    assert abs(a @ f + b @ g + dual - expected) < 1e-8
    shift = 0.0 if rule == "penalty" else reached
    for slope, potential in zip(torch.autograd.grad(value, weights), (f, g), strict=True):
        assert np.abs(slope.numpy() - (potential - shift)).max() < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("period", [0.0, 1.0])
def test_profiles_agree_with_assignments(family, period):
    rng = np.random.default_rng(FAMILIES.index(family))
    for _ in range(30):
        for p in (1.0,) if period else ORDERS:
            check_profile(rng, family, p, period)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("period", [0.0, 1.0])
@pytest.mark.parametrize("rule", ["penalty", "mass"])
def test_plans_agree_with_linear_programs(family, period, rule):
    rng = np.random.default_rng(100 + FAMILIES.index(family))
    for _ in range(4):
        for p in ORDERS:
            check_plan(rng, family, p, period, rule)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("period", [0.0, 1.0])
def test_thousands_of_instances(family, period):
    rng = np.random.default_rng(1000 + FAMILIES.index(family))
    for _ in range(400):
        for p in (1.0,) if period else ORDERS:
            check_profile(rng, family, p, period)
    for _ in range(60):
        for rule in ("penalty", "mass"):
            for p in ORDERS if period == 0 else (1.0, 1.0, 2.0):
                check_plan(rng, family, p, period, rule)


def dynamic_program(x, y, penalty, p):
    """Quadratic, for a whole batch: leave a source, leave a target, or match the two."""
    x, y = np.sort(x, -1), np.sort(y, -1)
    n, m = x.shape[-1], y.shape[-1]
    best = np.zeros((n + 1, m + 1, len(x)))
    best[:, 0], best[0] = penalty * np.arange(n + 1)[:, None], penalty * np.arange(m + 1)[:, None]
    for i in range(n):
        for j in range(m):
            leave = np.minimum(best[i, j + 1], best[i + 1, j]) + penalty
            best[i + 1, j + 1] = np.minimum(leave, best[i, j] + np.abs(x[:, i] - y[:, j]) ** p)
    return best[n, m]


@pytest.mark.parametrize(("n", "m", "spread"), [(6, 6, 0.0), (5, 9, 0.3), (40, 30, 1.0)])
def test_runs_of_conflicts_are_solved_to_the_end(n, m, spread):
    """Primal-dual codes that stop their search at an unmatched neighbour are wrong on one such instance in thirty."""
    rng = np.random.default_rng(n)
    rows = 3000 if n < 10 else 200
    x, y = rng.normal(size=(rows, n)), spread + rng.normal(size=(rows, m))
    penalty = rng.choice([0.03, 0.1, 0.3, 1.0], rows)
    for p in (1.0, 2.0):
        level = torch.tensor(penalty)
        value = partial_cost(torch.tensor(x), torch.tensor(y), rule="penalty", level=level, p=p)
        assert np.abs(value.numpy() - dynamic_program(x, y, penalty, p)).max() < 1e-9


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rule", ["penalty", "mass", "knee"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (30, 30), (17, 9)])
def test_native_equals_the_definition(p, weighted, rule, n, m):
    rng = np.random.default_rng(n + m)
    x, y, a, b = tensors(*(rng.random((3, k)) for k in (n, m, n, m)))
    a, b = (a, b) if weighted else (None, None)
    whole = min(n, m) if a is None else torch.minimum(a.sum(-1), b.sum(-1))
    level = {"penalty": torch.tensor([0.01, 0.1, 1.0]), "mass": 0.4 * whole * torch.ones(3), "knee": torch.zeros(3)}
    level = level[rule].double()
    for period in (0.0, 1.0):
        problem = row_problem(x, y, a, b, mass_one=False)
        slow = reference.partial_plan(problem, p, period, rule, level[:, None])
        fast = partial_plan(x, y, a, b, rule=rule, level=level, p=p, period=period)
        gap = [x.gather(-1, plan.i) - y.gather(-1, plan.j) for plan in (slow, fast)]
        gap = [(g - g.round() if period else g).abs() for g in gap]
        paid = [(plan.w * g**p).sum(-1) for plan, g in zip((slow, fast), gap, strict=True)]
        if rule == "penalty":
            paid = [cost - 2 * level * plan.w.sum(-1) for cost, plan in zip(paid, (slow, fast), strict=True)]
        torch.testing.assert_close(paid[0], paid[1], rtol=1e-9, atol=1e-9)
        if not weighted and (p == 1 or not period):
            most = min(n, m)
            for stop in (math.inf, 0.05):
                slow = reference.partial_profile(problem, p, period, stop, most)
                fast = partial_profile(x, y, p=p, period=period, penalty=stop / 2)
                torch.testing.assert_close(slow.marginal, fast.marginal, rtol=1e-9, atol=1e-12)


def test_golden_values():
    x, y = tensors([5.0, -2.0, 4.0], [-1.0, 1.0, 3.0])
    for p, costs in {1.0: [1.0, 2.0, 6.0], 2.0: [1.0, 2.0, 14.0], 3.0: [1.0, 2.0, 36.0]}.items():
        assert partial_profile(x, y, p=p).marginal.cumsum(-1).tolist() == pytest.approx(costs)
    x, y = tensors([0.0, 1.0, 2.0, 7.0], [0.4, 1.1, 9.0])
    a, b = tensors([0.7, 0.2, 0.1, 0.5], [0.3, 0.6, 0.4])
    for p, costs, optima, weighted in (
        (1.0, [0.1, 0.5, 2.5], {0.5: 2.0, 2.0: 4.5}, {0.2: 0.50, 0.5: 1.03, 2.0: 1.76}),
        (2.0, [0.01, 0.17, 4.17], {0.5: 1.67, 2.0: 6.17}, {0.2: 0.41, 0.5: 0.931, 2.0: 2.494}),
    ):
        assert partial_profile(x, y, p=p).marginal.cumsum(-1).tolist() == pytest.approx(costs)
        for weights, values in (((None, None), optima), ((a, b), weighted)):
            for penalty, value in values.items():
                (level,) = tensors(penalty)
                assert partial_cost(x, y, *weights, rule="penalty", level=level, p=p).item() == pytest.approx(value)
    plan = partial_plan(x, y, a, b, rule="penalty", level=torch.tensor(2.0), p=1.0)
    kept = torch.zeros(4).double().index_add(0, plan.i, plan.w), torch.zeros(3).double().index_add(0, plan.j, plan.w)
    torch.testing.assert_close(kept[0], torch.tensor([0.6, 0.2, 0.1, 0.4]).double())
    torch.testing.assert_close(kept[1], b)
    x, y = tensors([0.4, 4.1, 4.5, 8.0], [1.6, 5.0, 5.4, 11.4])
    costs = partial_profile(x, y, p=1.0, period=12.0).marginal.cumsum(-1)
    assert costs.tolist() == pytest.approx([0.5, 1.5, 2.8, 6.4])


def test_limits_and_symmetries():
    rng = np.random.default_rng(3)
    x, y = tensors(rng.random((20, 12)), rng.random((20, 12)))
    for p in ORDERS:
        everything = partial_cost(x, y, rule="mass", level=torch.tensor(12.0), p=p)
        torch.testing.assert_close(everything, 12 * line_distance(x, y, p=p))
        torch.testing.assert_close(partial_cost(x, y, rule="penalty", level=torch.tensor(1e3), p=p), everything)
        assert (partial_cost(x, y, rule="penalty", level=torch.tensor(0.0), p=p) == 0).all()
        some = partial_profile(x, y[:, :7], p=p).marginal
        torch.testing.assert_close(some, partial_profile(y[:, :7], x, p=p).marginal)
        torch.testing.assert_close(some, partial_profile(5 - x, 5 - y[:, :7], p=p).marginal)
        assert (some.diff(dim=-1) > -1e-12).all()
        closest = (x[:, :, None] - y[:, None, :7]).abs().amin((1, 2)) ** p
        torch.testing.assert_close(some[:, 0], closest)
    around = partial_cost(x, y, rule="mass", level=torch.tensor(12.0), p=1.0, period=1.0)
    torch.testing.assert_close(around, 12 * circle_distance(x, y, p=1.0))
    turn = partial_profile((x + 0.37).remainder(1.0), (y + 0.37).remainder(1.0), p=1.0, period=1.0).marginal
    torch.testing.assert_close(turn, partial_profile(x, y, p=1.0, period=1.0).marginal, rtol=0, atol=1e-12)
    short = partial_profile(0.4 * x, 0.4 * y, p=1.0, period=1.0).marginal
    torch.testing.assert_close(short, partial_profile(0.4 * x, 0.4 * y, p=1.0).marginal, rtol=0, atol=1e-12)


def test_roots_satisfy_the_triangle_inequality():
    rng = np.random.default_rng(4)
    clouds = tensors(*(rng.random((200, k)) for k in (5, 7, 4)))
    for p in (1.0, 2.0):
        pairs = ((0, 1), (1, 2), (0, 2))
        xy, yz, xz = (
            partial_cost(clouds[k], clouds[l], rule="penalty", level=torch.tensor(0.05), p=p) ** (1 / p)
            for k, l in pairs
        )
        assert (xz <= xy + yz + 1e-12).all()


def test_early_stop_is_a_prefix():
    rng = np.random.default_rng(5)
    x, y = tensors(rng.normal(size=(3, 200)), rng.normal(size=(3, 150)))
    for period in (0.0, 10.0):
        whole = partial_profile(x, y, p=1.0, period=period)
        few = partial_profile(x, y, p=1.0, period=period, most=20)
        cheap = partial_profile(x, y, p=1.0, period=period, penalty=0.01)
        assert torch.equal(few.marginal, whole.marginal[:, :20])
        assert torch.equal(few.source, whole.source[:, :20])
        kept = cheap.marginal < math.inf
        assert torch.equal(kept, whole.marginal < 0.02)
        assert torch.equal(cheap.marginal[kept], whole.marginal[kept])


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("rule", ["penalty", "mass"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("period", [0.0, 1.0])
def test_gradients_by_finite_differences(p, rule, weighted, period):
    rng = np.random.default_rng(6)
    x, y, a, b = tensors(*(rng.random((2, k)) + 0.1 for k in (5, 4, 5, 4)))
    level = torch.tensor([0.02, 0.05]) if rule == "penalty" else torch.tensor([1.3, 0.7])
    inputs = [t.double().requires_grad_() for t in ((x, y, level, a, b) if weighted else (x, y, level))]

    def cost(x, y, level, a=None, b=None):
        return partial_cost(x, y, a, b, rule=rule, level=level, p=p, period=period)

    assert torch.autograd.gradcheck(cost, inputs, eps=1e-7, atol=1e-6)


def test_penalty_slope_is_the_mass_left_behind():
    x, y = tensors([0.0, 5.0, 9.0], [0.1, 30.0])
    level = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(partial_cost(x, y, rule="penalty", level=level), level)
    assert slope.item() == 3.0


def test_absent_atoms_change_nothing():
    rng = np.random.default_rng(7)
    x, y, a = tensors(rng.random((4, 6)), rng.random((4, 5)), rng.random((4, 6)))
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]).double()
    for weights, p, period in ((mask, 2.0, 0.0), (mask, 1.0, 1.0), (a * mask, 1.0, 0.0), (a * mask, 3.0, 0.0)):
        weights = weights.expand(4, 6)
        kept = (x[:, mask > 0], y, weights[:, mask > 0])
        for rule, level in (("penalty", 0.02), ("mass", 0.3), ("knee", 0.0)):
            (level,) = tensors(level)
            padded = x.clone().requires_grad_()
            value = partial_cost(padded, y, weights, None, rule=rule, level=level, p=p, period=period)
            expected = partial_cost(*kept, None, rule=rule, level=level, p=p, period=period)
            torch.testing.assert_close(value, expected)
            (slope,) = torch.autograd.grad(value.sum(), padded)
            assert (slope[:, mask == 0] == 0).all()


def test_float32_agrees_with_float64():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=10_000), rng.normal(size=10_000) + 0.5
    for p, rule, level in ((1.0, "penalty", 0.1), (2.0, "mass", 7000.0), (2.0, "knee", 0.0)):
        wide = partial_cost(*tensors(x, y), rule=rule, level=torch.tensor(level), p=p)
        narrow = partial_cost(*(t.float() for t in tensors(x, y)), rule=rule, level=torch.tensor(level), p=p)
        assert narrow.dtype == torch.float32
        assert narrow.item() == pytest.approx(wide.item(), rel=1e-4)


def test_wrong_input_is_told():
    x, y = torch.rand(4), torch.rand(3)
    with pytest.raises(InfeasibleError, match="at most the mass of b, 3, but is 4"):
        partial_cost(x, y, rule="mass", level=torch.tensor(4.0))
    with pytest.raises(CapabilityError, match="p=1 only"):
        partial_profile(x, y, p=2.0, period=1.0)


def test_operators_have_fake_twins():
    x, y, level = torch.rand(3, 7), torch.rand(3, 5), torch.ones(1, 1, dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.monge.partial_plan, (x, y, None, None, 2.0, 0.0, 0, level, 5, True), test_utils="test_faketensor"
    )
    torch.library.opcheck(torch.ops.monge.partial_profile, (x, y, 2.0, 0.0, math.inf, 5), test_utils="test_faketensor")
