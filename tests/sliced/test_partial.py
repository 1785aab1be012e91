"""Partial transport on lines, circles and slices: against the general solver, its limits, its gradients."""

import math

import pytest
import torch

import monge
from draws import generator
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import Circle, Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed
from monge.sliced import (
    GreatCircles,
    Partial,
    Polynomial,
    directions,
    estimate,
    frames,
    partial_cost,
    partial_profile,
    sliced_partial_wasserstein,
    sliced_wasserstein,
)
from monge.sliced import Linear as Lines
from monge.sliced.partial import (
    CircularPartial,
    circular_partial_cost,
    circular_partial_plan,
    circular_partial_profile,
    partial_plan,
    spherical_sliced_partial_wasserstein,
)
from monge.solver import Simplex


def clouds(n=60, m=40, d=3, seed=0):
    g = generator(seed)
    return torch.randn(n, d, generator=g).double(), 1.2 * torch.randn(m, d, generator=g).double() + 0.3


# ---------------------------------------------------------------- one line, one circle


@pytest.mark.parametrize("weighted", [False, True])
def test_the_general_solver_agrees(weighted):
    g = generator(1)
    x, y = torch.rand(15, generator=g).double(), torch.rand(12, generator=g).double()
    a, b = (torch.rand(k, generator=g).double() for k in (15, 12)) if weighted else (None, None)
    sides = [torch.ones(k).double() if w is None else w for k, w in ((15, a), (12, b))]
    for geometry, cost, plan in (
        (Line(x, y), partial_cost, partial_plan),
        (Circle(x, y), circular_partial_cost, circular_partial_plan),
    ):
        given = {"p": 2.0}
        moved = monge.solve(Linear(geometry, *map(AtMost, sides), mass=3.0), Simplex())
        assert cost(x, y, a, b, mass=3.0, **given).item() == pytest.approx(float(moved.value))
        left = monge.solve(Linear(geometry, *(Relaxed(w, 0.01, "tv") for w in sides)), Simplex())
        assert cost(x, y, a, b, penalty=0.01, **given).item() == pytest.approx(float(left.value))
        P = plan(x, y, a, b, mass=3.0, **given)
        assert P.transport_cost(geometry).item() == pytest.approx(float(moved.value))
        assert P.mass.item() == pytest.approx(3.0)


def test_profiles_answer_every_question():
    g = generator(2)
    x, y = torch.rand(4, 20, generator=g).double(), torch.rand(4, 14, generator=g).double()
    for profile, cost, plan in (
        (partial_profile(x, y), partial_cost, partial_plan),
        (circular_partial_profile(x, y), circular_partial_cost, circular_partial_plan),
    ):
        assert profile.cost.shape == (4, 15)
        assert (profile.cost.diff(n=2, dim=-1) > -1e-12).all()
        count = profile.count(0.001)
        value = profile.cost.gather(-1, count[:, None])[:, 0] + 0.001 * (34 - 2 * count)
        torch.testing.assert_close(cost(x, y, penalty=0.001), value)
        knee = profile.knee()
        torch.testing.assert_close(cost(x, y, mass="knee"), profile.cost.gather(-1, knee[:, None])[:, 0])
        chord = profile.cost[:, -1:] * torch.arange(15) / 14
        assert torch.equal((chord - profile.cost).argmax(-1), knee)
        one, other = profile.plan(knee), plan(x, y, mass="knee")
        torch.testing.assert_close(one.dense(), other.dense())
        assert torch.equal(profile.plan(3).mass, torch.full((4,), 3.0).double())
        torch.testing.assert_close(cost(x, y), profile.cost[:, -1])
    few = partial_profile(x, y, most=5)
    with pytest.raises(ShapeError, match="but is 6, and the length is 5"):
        few.plan(6)


def test_the_knee_leaves_outliers():
    g = generator(3)
    clean = torch.rand(50, generator=g)
    x = torch.cat([clean, 20 + 10 * torch.rand(8, generator=g)])
    y = torch.cat([clean + 0.01, -20 - 10 * torch.rand(12, generator=g)])
    assert partial_profile(x, y).knee() == 50


def test_float32_and_empty_sides():
    x, y = torch.rand(5), torch.rand(4)
    assert partial_cost(x, y).dtype == torch.float32
    nothing = torch.zeros(5)
    assert partial_cost(x, y, nothing, penalty=0.5).item() == pytest.approx(2.0)
    assert partial_cost(x, y, nothing, mass=0.0).item() == 0.0
    assert circular_partial_cost(x, y, nothing, penalty=0.5).item() == pytest.approx(2.0)
    assert partial_plan(x, y, nothing, penalty=0.5).mass.item() == 0.0


# ---------------------------------------------------------------- slices


def test_every_slice_is_the_problem_on_its_line():
    x, y = clouds()
    theta = directions(7, 3, generator=generator(), dtype=torch.float64)
    u, v = theta @ x.T, theta @ y.T
    for given in ({"penalty": 0.1}, {"mass": 11.5}, {"mass": "knee"}, {}):
        found = sliced_partial_wasserstein(x, y, theta=theta, **given)
        torch.testing.assert_close(found.slices, partial_cost(u, v, **given))
        torch.testing.assert_close(found.cost, found.slices.mean())
        same = estimate(x, y, slicer=Lines(theta), line=Partial(**given))
        torch.testing.assert_close(same.cost, found.cost)
    levels = torch.linspace(0.01, 1.0, 7).double()
    found = sliced_partial_wasserstein(x, y, theta=theta, penalty=levels)
    torch.testing.assert_close(found.slices, partial_cost(u, v, penalty=levels))


def test_limits_of_the_penalty():
    x, y = clouds(50, 50)
    theta = directions(9, 3, generator=generator(), dtype=torch.float64)
    found = sliced_partial_wasserstein(x, y, penalty=1e4, theta=theta)
    balanced = sliced_wasserstein(x, y, theta=theta)
    torch.testing.assert_close(found.cost, 50 * balanced.cost)
    for penalty in (1e-3, 0.1, 1.0):
        sliced = sliced_partial_wasserstein(x, y, penalty=penalty, theta=theta).cost
        whole = monge.solve(Linear(PointCloud(x, y), *(Relaxed(torch.ones(50).double(), penalty, "tv"),) * 2))
        assert sliced <= whole.value + 1e-9
        assert sliced <= penalty * 100


def test_an_outlier_costs_the_penalty():
    x, _ = clouds()
    theta = directions(12, 3, generator=generator(), dtype=torch.float64)
    far = torch.full((4, 3), 50.0).double() * torch.arange(1, 5).double()[:, None]
    theta = theta[(theta.sum(-1).abs() > 0.3)]
    for penalty in (0.1, 2.0):
        found = sliced_partial_wasserstein(x, torch.cat([x, far]), penalty=penalty, theta=theta)
        assert found.cost.item() == pytest.approx(4 * penalty)
        leaf = torch.tensor(penalty, dtype=torch.float64, requires_grad=True)
        cost = sliced_partial_wasserstein(x, torch.cat([x, far]), penalty=leaf, theta=theta).cost
        assert torch.autograd.grad(cost, leaf)[0].item() == pytest.approx(4.0)


def test_shared_slices_make_a_metric():
    theta = directions(10, 2, generator=generator(), dtype=torch.float64)
    sets = [torch.rand(k, 2, generator=generator(k)).double() for k in (5, 9, 7)]
    for p in (1.0, 2.0):
        xy, yz, xz, yx = (
            sliced_partial_wasserstein(sets[k], sets[l], penalty=0.02, p=p, theta=theta).distance
            for k, l in ((0, 1), (1, 2), (0, 2), (1, 0))
        )
        assert xz <= xy + yz + 1e-12
        torch.testing.assert_close(xy, yx)
        assert sliced_partial_wasserstein(sets[0], sets[0], penalty=0.02, p=p, theta=theta).cost == 0


@pytest.mark.parametrize("given", [{"penalty": torch.tensor([0.3, 0.1])}, {"mass": torch.tensor([2.3, 3.4])}])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_by_finite_differences(given, weighted):
    g = generator(5)
    x, y = (torch.randn(2, k, 3, generator=g).double().requires_grad_() for k in (6, 5))
    weights = [torch.rand(2, k, generator=g).double().add(0.5).requires_grad_() for k in (6, 5)] if weighted else []
    theta = directions(4, 3, generator=g, dtype=torch.float64)
    (name, level), p = next(iter(given.items())), 2.0
    level = level.double()[:, None].requires_grad_()

    def cost(x, y, level, *weights):
        return sliced_partial_wasserstein(x, y, *weights, theta=theta, p=p, **{name: level}).cost

    assert torch.autograd.gradcheck(cost, (x, y, level, *weights), eps=1e-7, atol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    x, y = clouds()
    theta = directions(9, 3, generator=generator(), dtype=torch.float64)
    leaf = x.requires_grad_()
    whole = sliced_partial_wasserstein(leaf, y, penalty=0.1, theta=theta)
    (slope,) = torch.autograd.grad(whole.cost, leaf)
    monkeypatch.setattr("monge.sliced._over_slices.CHUNK_BYTES", 1)
    pieces = sliced_partial_wasserstein(leaf, y, penalty=torch.full((9,), 0.1).double(), theta=theta)
    torch.testing.assert_close(whole.cost, pieces.cost)
    torch.testing.assert_close(slope, torch.autograd.grad(pieces.cost, leaf)[0])


def test_batches_and_padding():
    g = generator(6)
    x, y = torch.randn(3, 8, 2, generator=g), torch.randn(3, 6, 2, generator=g)
    theta = directions(5, 2, generator=g)
    mask = torch.ones(3, 8)
    mask[1, 5:] = 0
    found = sliced_partial_wasserstein(x, y, mask, penalty=0.2, theta=theta)
    one = sliced_partial_wasserstein(x[1, :5], y[1], penalty=0.2, theta=theta)
    torch.testing.assert_close(found.cost[1], one.cost)
    assert found.slices.shape == (3, 5)
    assert sliced_partial_wasserstein(x, y, mask, theta=theta).slices.shape == (3, 5)


def test_other_slices_take_the_same_problem():
    x, y = clouds()
    theta = torch.nn.functional.normalize(torch.randn(6, 10, generator=generator()).double(), dim=-1)
    found = estimate(x, y, slicer=Polynomial(theta), line=Partial(penalty=0.5, p=1.0))
    assert 0 < found.cost <= 0.5 * 100


# ---------------------------------------------------------------- the sphere


def on_sphere(n, seed):
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=generator(seed)).double(), dim=-1)


def test_great_circles_are_exact_on_every_slice():
    x, y = on_sphere(14, 1), on_sphere(11, 2)
    frame = frames(8, 3, generator=generator(), dtype=torch.float64)
    found = spherical_sliced_partial_wasserstein(x, y, penalty=0.05, frame=frame)
    u, v = (GreatCircles(frame)._coordinates(points, slice(None)) for points in (x, y))
    torch.testing.assert_close(found.slices, circular_partial_cost(u, v, penalty=0.05))
    same = estimate(x, y, slicer=GreatCircles(frame), line=CircularPartial(penalty=0.05))
    torch.testing.assert_close(same.cost, found.cost)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=generator(3)).double()).Q
    again = spherical_sliced_partial_wasserstein(x @ turned.T, y @ turned.T, penalty=0.05, frame=frame @ turned.T)
    torch.testing.assert_close(again.cost, found.cost)
    unequal = torch.rand(14, generator=generator()).double()
    some = spherical_sliced_partial_wasserstein(x, y, unequal, penalty=0.05, frame=frame)
    assert 0 < some.cost <= 0.05 * (unequal.sum() + 11)


@pytest.mark.parametrize("family", ["great-circles", "stereographic", "vertical"])
def test_a_part_is_found_in_the_whole(family):
    x = on_sphere(20, 4)
    found = spherical_sliced_partial_wasserstein(x, x[:13], family=family, slices=30, generator=generator())
    assert found.cost.item() == pytest.approx(0.0, abs=1e-12)
    leaf = on_sphere(9, 5).requires_grad_()
    cost = spherical_sliced_partial_wasserstein(leaf, x, family=family, slices=20, generator=generator()).cost
    (slope,) = torch.autograd.grad(cost, leaf)
    assert slope.isfinite().all()
    assert slope.norm() > 0


# ---------------------------------------------------------------- errors


def test_wrong_input_is_told():
    x, y = torch.rand(4, 2), torch.rand(3, 2)
    with pytest.raises(InputError, match="exclude each other"):
        sliced_partial_wasserstein(x, y, penalty=1.0, mass=2.0)
    with pytest.raises(InputError, match="penalty"):
        sliced_partial_wasserstein(x, y, penalty=-1.0)
    with pytest.raises(InputError, match="'elbow' is unknown"):
        Partial(mass="elbow")
    with pytest.raises(InfeasibleError, match="ask for less"):
        sliced_partial_wasserstein(x, y, mass=3.5)
    with pytest.raises(ShapeError, match="one space"):
        sliced_partial_wasserstein(x, torch.rand(3, 3), penalty=1.0)
    with pytest.raises(InputError, match="finite and not negative"):
        partial_cost(x[:, 0], y[:, 0], penalty=torch.tensor(math.inf))
    with pytest.raises(ShapeError, match="one mass per point"):
        partial_cost(x[:, 0], y[:, 0], torch.ones(3), penalty=1.0)


def test_prices_of_single_slices_go_with_them_and_have_gradients(monkeypatch):
    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(9, 2, generator=g, dtype=torch.float64), torch.randn(7, 2, generator=g, dtype=torch.float64)
    theta = directions(6, 2, generator=g, dtype=torch.float64)
    price = (0.1 + torch.rand(6, generator=g, dtype=torch.float64)).requires_grad_()
    alone = torch.stack([
        sliced_partial_wasserstein(x, y, penalty=price[k], theta=theta[k : k + 1]).cost for k in range(6)
    ])  # fmt: skip
    (expected,) = torch.autograd.grad(alone.mean(), price)
    monkeypatch.setattr("monge.sliced._over_slices.CHUNK_BYTES", 1)  # every slice in a chunk of its own
    found = estimate(x, y, slicer=Lines(theta), line=Partial(penalty=price))
    torch.testing.assert_close(found.slices, alone.detach())
    (gradient,) = torch.autograd.grad(found.cost, price)
    torch.testing.assert_close(gradient, expected)
