"""Estimates: control variates, tolerances, weighted means, the graph that can be kept, families of slices."""

import math
from functools import partial

import pytest
import torch

import monge
from draws import generator
from monge.errors import InputError
from monge.sliced import (
    Augmented,
    Balanced,
    Circular,
    GreatCircles,
    Linear,
    LinearCircular,
    Network,
    Polynomial,
    Spheres,
    Unbalanced,
    directions,
    energy_based_sliced_wasserstein,
    estimate,
    frames,
    max_sliced_wasserstein,
    refine,
    sliced_gromov_wasserstein,
    sliced_wasserstein,
    spherical_sliced_wasserstein,
    tree_sliced_wasserstein,
    tree_system,
)
from monge.sliced.sphere import spherical_tree_sliced_wasserstein, spherical_tree_system


def sphere(n, d, seed):
    return torch.nn.functional.normalize(torch.randn(n, d, generator=generator(seed), dtype=torch.float64), dim=-1)


def draws(count, x, y, **options):
    found = [sliced_wasserstein(x, y, generator=generator(1000 + k), **options) for k in range(count)]
    return torch.stack([f.cost for f in found]), torch.stack([f.standard_error for f in found])


# ---------------------------------------------------------------- control variates


@pytest.mark.parametrize(("d", "slices"), [(3, 30), (10, 30)])
def test_control_variates_lower_the_variance_and_keep_the_mean(d, slices, clouds):
    x, y = clouds(d)
    reference = sliced_wasserstein(x, y, slices=20_000, generator=generator(99))
    plain, _ = draws(100, x, y, slices=slices, kind="iid")
    spread = {}
    for control in ("lower", "upper", "quadratic"):
        costs, told = draws(100, x, y, slices=slices, kind="iid", control_variate=control)
        spread[control] = costs.std() / plain.std()
        assert abs(costs.mean() - reference.cost) < 4 * costs.std() / 10 + 0.01 * reference.cost  # bias O(1 / L)
        assert 0.6 < told.mean() / costs.std() < 1.6
    assert spread["quadratic"] < 0.25
    assert spread["upper"] < 0.9
    assert spread["lower"] < 0.9


def test_whole_bases_integrate_the_control_variates_already(clouds):
    x, y = clouds(5)
    plain = sliced_wasserstein(x, y, slices=40, generator=generator())
    controlled = sliced_wasserstein(x, y, slices=40, control_variate="quadratic", generator=generator())
    torch.testing.assert_close(controlled.cost, plain.cost)
    # With few bases the residuals still tell how good the mean is, where the raw slices cannot.
    few = sliced_wasserstein(x, y, slices=10, control_variate="quadratic", generator=generator())
    assert few.standard_error < 0.5 * sliced_wasserstein(x, y, slices=10, generator=generator()).standard_error


@pytest.mark.parametrize("control", ["lower", "upper", "quadratic"])
def test_control_variates_are_exact_on_quadratic_forms_and_differentiable(control):
    g = generator()
    # Diracs: the cost on a slice is the first quadratic form itself.
    x, y = torch.zeros(1, 4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64)
    found = sliced_wasserstein(x, y, slices=7, kind="iid", control_variate=control, generator=g)
    assert found.cost.item() == pytest.approx(1.0)
    x = torch.randn(6, 3, generator=g, dtype=torch.float64).requires_grad_()
    y = torch.randn(2, 4, 3, generator=g, dtype=torch.float64).requires_grad_()
    a = torch.rand(6, generator=g, dtype=torch.float64).requires_grad_()
    theta = directions(9, 3, "iid", generator=g, dtype=torch.float64)

    def fitted(x, y, a):  # gamma is a constant of the gradient: fix it by hand for finite differences
        plain = sliced_wasserstein(x, y, a, theta=theta)
        return plain, sliced_wasserstein(x, y, a, theta=theta, control_variate=control)

    plain, found = fitted(x, y, a)
    assert found.cost.shape == (2,)
    torch.testing.assert_close(found.slices.mean(-1), found.cost)
    slopes = torch.autograd.grad((plain.cost - found.cost).sum(), (x, y, a))
    assert all(slope.isfinite().all() for slope in slopes)
    # With equal weights the mean over slices of the correction is a quadratic form: Euler's identity.
    plain, found = fitted(x, y, None)
    slopes = torch.autograd.grad((plain.cost - found.cost).sum(), (x, y))
    along = (slopes[0] * x).sum() + (slopes[1] * y).sum()
    torch.testing.assert_close(along, 2 * (plain.cost - found.cost).sum(), rtol=1e-6, atol=1e-9)


def test_control_variates_know_what_they_need(clouds):
    x, y = clouds(3, 6, 6)
    with pytest.raises(InputError, match="needs Linear slices"):
        estimate(x, y, slicer=Spheres(torch.eye(3, dtype=x.dtype)), control_variate="lower")
    with pytest.raises(InputError, match="unknown"):
        sliced_wasserstein(x, y, control_variate="cubic")


# ---------------------------------------------------------------- until the error is small


def test_every_sliced_distance_stops_at_a_tolerance(clouds):
    x, y = clouds(3, 30, 20)
    u, v, g = sphere(30, 3, 0), sphere(20, 3, 1), generator()
    iid = partial(directions, dimension=3, kind="iid", generator=g, dtype=x.dtype)
    distances = {
        "sliced": lambda k: sliced_wasserstein(x, y, slices=k, kind="iid", generator=g),
        "controlled": lambda k: sliced_wasserstein(
            x, y, slices=k, kind="iid", control_variate="quadratic", generator=g
        ),
        "energy": lambda k: energy_based_sliced_wasserstein(x, y, slicer=Linear(iid(k))),
        "spheres": lambda k: estimate(x, y, slicer=Spheres(iid(k))),
        "unbalanced": lambda k: estimate(x, y, slicer=Linear(iid(k)), line=Unbalanced(1.0)),
        "gromov": lambda k: sliced_gromov_wasserstein(x, y, theta=iid(k)),
        "tree": lambda k: tree_sliced_wasserstein(x, y, system=tree_system(x, y, trees=k, lines=3, generator=g)),
        "great circles": lambda k: spherical_sliced_wasserstein(u, v, slices=k, generator=g),
        "spherical tree": lambda k: spherical_tree_sliced_wasserstein(
            u, v, system=spherical_tree_system(3, trees=k, generator=g, dtype=x.dtype)
        ),
    }
    for name, draw in distances.items():
        start = draw(8)
        tol = 0.4 * float(start.standard_error / start.cost)
        found = refine(draw, tol=tol, slices=8)
        assert found.standard_error <= tol * found.cost, name
        assert found.slices.shape[-1] > 8, name
    capped = refine(distances["sliced"], tol=1e-9, slices=8, max_slices=20)
    assert capped.slices.shape[-1] == 20
    assert spherical_sliced_wasserstein(u, v, slices=8, tol=0.02, generator=g).slices.shape[-1] > 8


def test_refined_estimates_keep_what_was_drawn(clouds):
    x, y = clouds(3, 20, 20)
    x.requires_grad_()
    drawn = []

    def draw(count):
        drawn.append(sliced_wasserstein(x, y, slices=count, kind="iid", generator=generator(len(drawn))))
        return drawn[-1]

    found = refine(draw, tol=1e-9, slices=6, max_slices=20)
    assert [len(part.slices) for part in drawn] == [6, 6, 8]
    torch.testing.assert_close(found.slices, torch.cat([part.slices for part in drawn]))
    torch.testing.assert_close(found.cost.detach(), found.slices.mean())
    (slope,) = torch.autograd.grad(found.cost, x, retain_graph=True)
    parts = torch.stack([torch.autograd.grad(part.cost, x)[0] for part in drawn])
    shares = torch.tensor([6, 6, 8], dtype=x.dtype)[:, None, None] / 20
    torch.testing.assert_close(slope, (shares * parts).sum(0))


def test_weighted_means_know_their_own_error(clouds):
    x, y = clouds(5)
    found = [
        energy_based_sliced_wasserstein(
            x, y, slicer=Linear(directions(60, 5, "iid", generator=generator(k), dtype=x.dtype)), temperature=0.2
        )
        for k in range(80)
    ]
    spread = torch.stack([f.cost for f in found]).std()
    told = torch.stack([f.standard_error for f in found]).mean()
    assert 0.6 < told / spread < 1.5


# ---------------------------------------------------------------- families of slices


@pytest.mark.parametrize("family", ["spheres", "cubic", "augmented", "network"])
def test_generalised_slices_are_distances(family):
    g = generator()
    clouds = [torch.randn(n, 3, generator=g, dtype=torch.float64) for n in (8, 6, 7)]
    layer = torch.nn.Linear(3, 5, dtype=torch.float64)
    slicer = {
        "spheres": lambda: Spheres(directions(9, 3, generator=g, dtype=torch.float64), 4.0),
        "cubic": lambda: Polynomial(directions(9, 10, generator=g, dtype=torch.float64), 3),
        "augmented": lambda: Augmented(directions(9, 8, generator=g, dtype=torch.float64), layer),
        "network": lambda: Network(layer, 5),
    }[family]()
    d = {(i, j): estimate(clouds[i], clouds[j], slicer=slicer).distance for i in range(3) for j in range(3)}
    for i in range(3):
        assert d[i, i] == 0
        for j in range(3):
            torch.testing.assert_close(d[i, j], d[j, i])
            assert all(d[i, j] <= d[i, k] + d[k, j] + 1e-12 for k in range(3))
    x = clouds[0][:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: estimate(x, clouds[1], slicer=slicer).cost, (x,))


def test_wide_spheres_are_planes(clouds):
    x, y = clouds(3, 20, 20)
    theta = directions(12, 3, generator=generator(), dtype=x.dtype)
    flat = estimate(x, y, slicer=Linear(theta)).cost
    torch.testing.assert_close(estimate(x, y, slicer=Spheres(theta, 1e5)).cost, flat, rtol=1e-3, atol=0)


def test_the_maximum_over_a_family_beats_its_start(clouds):
    x, y = clouds(3, 25, 25)
    for slicer in (
        Spheres(directions(4, 3, generator=generator(), dtype=x.dtype), 3.0),
        Polynomial(directions(4, 10, generator=generator(), dtype=x.dtype), 3),
        Augmented(directions(4, 6, generator=generator(), dtype=x.dtype), torch.sin),
    ):
        start = estimate(x, y, slicer=slicer).slices.max()
        found, theta = max_sliced_wasserstein(x, y, slicer=slicer, steps=60, generator=generator())
        assert found.cost > 1.01 * start
        assert theta.shape == (1, slicer.theta.shape[-1])
        torch.testing.assert_close(estimate(x, y, slicer=slicer._at(theta)).cost, found.cost)


def test_the_graph_can_be_kept_to_train_slices_and_differentiate_twice(clouds):
    x, y = clouds(2, 12, 12)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    costs = []
    for _ in range(30):
        cost = estimate(x, y, slicer=Network(network, 3), differentiable=True).cost
        optimiser.zero_grad()
        (-cost).backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] > 1.5 * costs[0]  # the slices learned to tell the clouds apart
    theta = directions(5, 2, generator=generator(), dtype=x.dtype)
    a = torch.rand(6, generator=generator(), dtype=x.dtype)
    for line in (Balanced(2.0), Balanced(3.0), LinearCircular()):
        few = (0.3 * x[:6]).requires_grad_()

        def cost(few, line=line):
            return estimate(few, 0.3 * y[:5], a, slicer=Linear(theta), line=line, differentiable=True).cost

        plain = estimate(few, 0.3 * y[:5], a, slicer=Linear(theta), line=line).cost
        torch.testing.assert_close(cost(few), plain)
        assert torch.autograd.gradgradcheck(cost, (few,))


def test_energy_weights_on_the_sphere():
    x, y = sphere(20, 3, 0), sphere(20, 3, 1)
    slicer = GreatCircles(frames(30, 3, generator=generator(), dtype=x.dtype))
    plain = estimate(x, y, slicer=slicer, line=Circular())
    found = energy_based_sliced_wasserstein(x, y, slicer=slicer, line=Circular(), temperature=0.01)
    assert plain.cost < found.cost < plain.slices.max()


def test_wrong_input_is_told(clouds):
    x, y = clouds(3, 5, 5)
    with pytest.raises(InputError, match="degree must be odd"):
        Polynomial(torch.ones(1, 6), 2)
    with pytest.raises(InputError, match="radius"):
        Spheres(torch.eye(3), 0.0)
    with pytest.raises(InputError, match="tol must lie in"):
        sliced_wasserstein(x, y, tol=0.0)
    with pytest.raises(InputError, match="restarts"):
        max_sliced_wasserstein(x, y, restarts=-1)
    assert math.isinf(estimate(x, y, slicer=Linear(torch.eye(3, dtype=x.dtype)[:1])).standard_error)


def test_slices_have_gradients_where_the_graph_is_stored() -> None:
    x, y = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.randn(5, 3, dtype=torch.float64)
    slicer = monge.sliced.LinearSlicer(monge.sliced.directions(4, 3, dtype=torch.float64))
    stored = monge.sliced.estimate(x, y, slicer=slicer, differentiable=True)
    (by_slices,), (by_cost,) = (
        torch.autograd.grad(one, x, retain_graph=True) for one in (stored.slices.mean(), stored.cost)
    )
    torch.testing.assert_close(by_slices, by_cost)
    assert not stored.standard_error.requires_grad
    plain = monge.sliced.estimate(x, y, slicer=slicer)
    assert not plain.slices.requires_grad
    torch.testing.assert_close(plain.slices, stored.slices)
