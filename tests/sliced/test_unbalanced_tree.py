"""Unbalanced slices and trees: limits, mass identities, oracles."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from draws import generator
from monge import kernels
from monge.errors import InputError
from monge.kernels.line import row_problem
from monge.kernels.line.straight import reference
from monge.sliced import (
    Balanced,
    Circular,
    GreatCircles,
    Linear,
    LinearCircular,
    TreeSystem,
    Unbalanced,
    directions,
    estimate,
    frames,
    sliced_wasserstein,
    tree_sliced_wasserstein,
    tree_system,
    unbalanced_sliced_wasserstein,
)
from monge.sliced.sphere import Stereographic


def test_potentials_certify_the_distance():
    x, y = torch.randn(4, 7, generator=generator()).double(), torch.randn(4, 5, generator=generator(1)).double()
    a = torch.rand(4, 7, generator=generator(2)).double()
    f, g = kernels.line_potentials(x, y, a, None, 1.5)
    cost = (x[..., :, None] - y[..., None, :]).abs() ** 1.5
    value = kernels.line_distance(x, y, a, None, 1.5)
    assert (f[..., :, None] + g[..., None, :] - cost).max() < 1e-12
    a = a / a.sum(-1, keepdim=True)
    torch.testing.assert_close((a * f).sum(-1), value / 2)
    torch.testing.assert_close(g.mean(-1), value / 2)
    other = reference.line_potentials(row_problem(x, y, a, None), 1.5)
    centred = [side - side.mean(-1, keepdim=True) for side in (f, other[0])]
    torch.testing.assert_close(*centred)


def test_unbalanced_goes_to_balanced_for_large_rho(clouds):
    x, y = clouds(3, 30, 20)
    slicer = Linear(directions(9, 3, generator=generator(), dtype=x.dtype))
    balanced = sliced_wasserstein(x, y, theta=slicer.theta).cost
    for found in (
        estimate(x, y, slicer=slicer, line=Unbalanced(1e6)).cost,
        unbalanced_sliced_wasserstein(x, y, slicer=slicer, rho=1e6)[0].cost,
    ):
        torch.testing.assert_close(found, balanced, rtol=1e-4, atol=0)


def test_unbalanced_is_bounded_by_its_parts(clouds):
    x, y = clouds(2, 20, 25)
    slicer = Linear(directions(8, 2, generator=generator(), dtype=x.dtype))
    a = torch.rand(20, generator=generator(), dtype=x.dtype)
    for rho in (0.01, 1.0, 10.0):
        each = estimate(x, y, a, slicer=slicer, line=Unbalanced(rho)).cost
        shared, kept_x, kept_y = unbalanced_sliced_wasserstein(x, y, a, slicer=slicer, rho=rho)
        assert each <= shared.cost * (1 + 1e-3)  # one reweighting a slice is freer than one for all
        assert shared.cost <= rho * (a.sum() + 1) + 1e-12  # destroying everything is allowed
        torch.testing.assert_close(kept_x.sum(), kept_y.sum())


def test_unbalanced_on_two_points_against_its_closed_form():
    # One atom each, masses a and b at distance c: keep m = sqrt(ab) e^{-c/2 rho}, value rho (a + b) - 2 rho m.
    a, b, gap, rho = 0.7, 2.0, 1.3, 0.8
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), gap, dtype=torch.float64)
    weights = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    slicer = Linear(torch.ones(1, 1, dtype=torch.float64))
    mass = math.sqrt(a * b) * math.exp(-(gap**2) / (2 * rho))
    found, kept, _ = unbalanced_sliced_wasserstein(x, y, *weights, slicer=slicer, rho=rho)
    assert kept.sum().item() == pytest.approx(mass, rel=1e-3)
    assert found.cost.item() == pytest.approx(rho * (a + b) - 2 * rho * mass, rel=1e-5)


def test_unbalanced_gradient_is_the_envelope(clouds):
    x, y = clouds(2, 5, 4)
    slicer = Linear(directions(3, 2, generator=generator(), dtype=x.dtype))
    x.requires_grad_()
    line = Unbalanced(2.0)
    (slope,) = torch.autograd.grad(estimate(x, y, slicer=slicer, line=line).cost, x)
    step = torch.zeros_like(x)
    step[1, 0] = 1e-3
    with torch.no_grad():
        costs = [estimate(x + s * step, y, slicer=slicer, line=line).cost for s in (1, -1)]
    torch.testing.assert_close(slope[1, 0], (costs[0] - costs[1]) / 2e-3, rtol=2e-2, atol=1e-4)


def test_outliers_lose_their_weight():
    x = torch.randn(40, 2, generator=generator(), dtype=torch.float64)
    y = torch.randn(40, 2, generator=generator(1), dtype=torch.float64)
    x[:4] += 30
    slicer = Linear(directions(20, 2, generator=generator(), dtype=x.dtype))
    _, kept, _ = unbalanced_sliced_wasserstein(x, y, slicer=slicer, rho=5.0)
    assert kept[:4].max() < 0.05 * kept[4:].mean()


def least(u, v, a, b, rho):
    """The optimum on a line by descent of a dense plan."""
    plan = torch.zeros(len(u), len(v), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([plan], max_iter=1000, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def loss():
        optimiser.zero_grad()
        if rho[0] == math.inf:
            pi = plan.softmax(1) * a[:, None]
        else:
            pi = plan.softmax(0) * b if rho[1] == math.inf else plan.exp()
        value = ((u[:, None] - v).square() * pi).sum()
        for side, (price, weights) in enumerate(zip(rho, (a, b), strict=True)):
            if price < math.inf:
                mass = pi.sum(1 - side)
                value = value + price * (torch.special.xlogy(mass, mass / weights) - mass + weights).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return loss().detach()


@pytest.mark.parametrize("rho", [(1.0, 1.0), (0.5, 2.0), (0.7, math.inf), (math.inf, 0.7)])
def test_prices_apart_reach_the_optimum_and_its_slopes(rho):
    g = generator(5)
    x, y = (torch.randn(n, 1, generator=g, dtype=torch.float64) for n in (4, 3))
    a, b = (torch.rand(n, generator=g, dtype=torch.float64) + 0.5 for n in (4, 3))
    slicer = Linear(torch.ones(1, 1, dtype=torch.float64))
    expected = least(x[:, 0], y[:, 0], a, b, rho)
    slopes = []
    for side in range(2):
        step = [1e-3 * (k == side) * torch.eye(len(w), dtype=torch.float64)[1] for k, w in enumerate((a, b))]
        up, down = (least(x[:, 0], y[:, 0], a + s * step[0], b + s * step[1], rho) for s in (1, -1))
        slopes.append((up - down) / 2e-3)
    leaves = [t.clone().requires_grad_() for t in (a, b)]
    each = estimate(x, y, *leaves, slicer=slicer, line=Unbalanced(rho)).cost
    shared, kept_x, kept_y = unbalanced_sliced_wasserstein(x, y, *leaves, slicer=slicer, rho=rho)
    for found in (each, shared.cost):
        torch.testing.assert_close(found.detach(), expected, rtol=5e-3, atol=0)
        got = torch.autograd.grad(found, leaves)
        torch.testing.assert_close(torch.stack([s[1] for s in got]), torch.stack(slopes), rtol=2e-2, atol=1e-2)
    if math.inf in rho:
        torch.testing.assert_close(*((kept_x, a) if rho[0] == math.inf else (kept_y, b)))


def test_circles_and_spheres_can_be_unbalanced_too():
    g = generator()
    x, y = (torch.nn.functional.normalize(torch.randn(n, 3, generator=g).double(), dim=-1) for n in (12, 9))
    frame = frames(6, 3, generator=g, dtype=x.dtype)
    for slicer, line in ((GreatCircles(frame), Circular()), (Stereographic(frame), Balanced())):
        balanced = estimate(x, y, slicer=slicer, line=line).cost
        wide = estimate(x, y, slicer=slicer, line=Unbalanced(1e5, line)).cost
        torch.testing.assert_close(wide, balanced, rtol=1e-4, atol=0)
        free = estimate(x, y, slicer=slicer, line=Unbalanced(0.02, line)).cost
        shared, kept, _ = unbalanced_sliced_wasserstein(x, y, slicer=slicer, line=line, rho=0.02)
        assert free <= shared.cost * (1 + 1e-3)
        assert shared.cost <= balanced + 1e-12
        assert kept.sum() < 1 - 1e-4


def test_wrong_prices_are_told(clouds):
    x, y = clouds(2, 4, 4)
    with pytest.raises(InputError, match="finite on one side"):
        Unbalanced(math.inf)
    with pytest.raises(InputError, match="one price, or a pair"):
        Unbalanced((1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="whose potentials are known"):
        Unbalanced(1.0, LinearCircular())
    with pytest.raises(InputError, match="rho must lie in"):
        unbalanced_sliced_wasserstein(x, y, slicer=Linear(torch.eye(2, dtype=x.dtype)), rho=-1.0)


# ---------------------------------------------------------------- trees


def tree_oracle(places, masses):
    """Transport on a star by linear programming: the distance between two points of different rays goes by the root."""
    ray, radius, weight = places
    n = len(ray)
    same = ray[:, None] == ray
    cost = np.where(same, np.abs(radius[:, None] - radius), radius[:, None] + radius)
    positive, negative = np.maximum(weight, 0), np.maximum(-weight, 0)
    equal = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])[:-1]
    return linprog(cost.ravel(), A_eq=equal, b_eq=np.r_[positive, negative][:-1], bounds=(0, None)).fun


def test_tree_distance_against_a_linear_program():
    x, y = torch.randn(5, 3, generator=generator()).double(), torch.randn(4, 3, generator=generator(1)).double()
    system = tree_system(x, y, trees=6, lines=3, generator=generator())
    found = tree_sliced_wasserstein(x, y, system=system, sharpness=2.0)
    for tree in range(6):
        ray, radius, weight = [], [], []
        for cloud, sign in ((x, 1), (y, -1)):
            for point in cloud:
                t = system.theta[tree] @ (point - system.root[tree])
                off = ((point - system.root[tree]).square().sum() - t.square()).sqrt()
                share = (-2.0 * off).softmax(0)
                for line in range(3):
                    ray.append(2 * line + int(t[line] > 0))
                    radius.append(abs(t[line].item()))
                    weight.append(sign * share[line].item() / len(cloud))
        expected = tree_oracle((np.array(ray), np.array(radius), np.array(weight)), None)
        assert found.slices[tree].item() == pytest.approx(expected, rel=1e-6)


def test_one_line_is_a_slice(clouds):
    x, y = clouds(3)
    theta = directions(1, 3, generator=generator(), dtype=x.dtype)
    root = torch.zeros(1, 3, dtype=x.dtype)
    tree = tree_sliced_wasserstein(x, y, system=TreeSystem(root, theta[None])).cost
    torch.testing.assert_close(tree, sliced_wasserstein(x, y, theta=theta, p=1.0).cost)


def test_tree_gradient(clouds):
    x, y = clouds(2, 5, 4)
    system = tree_system(x, y, trees=3, lines=2, generator=generator())
    a = torch.rand(5, generator=generator(), dtype=x.dtype)
    leaves = [t.requires_grad_() for t in (x, y, a)]
    assert torch.autograd.gradcheck(lambda x, y, a: tree_sliced_wasserstein(x, y, a, system=system).cost, leaves)
    assert tree_sliced_wasserstein(x, x, system=system).cost.abs() < 1e-15
