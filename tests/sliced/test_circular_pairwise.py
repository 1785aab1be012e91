"""The circle, its linear embedding, and all-pairs distances."""

import math

import pytest
import torch

from draws import generator
from monge import kernels
from monge.errors import InputError, ShapeError
from monge.geometry import Circle
from monge.kernels.line import row_problem
from monge.kernels.line.circle import reference
from monge.sliced import (
    circular_wasserstein,
    directions,
    pairwise_sliced_wasserstein,
    sliced_embedding,
    sliced_wasserstein,
)
from monge.sliced.sphere import (
    circular_barycenter_density,
    circular_embedding,
    circular_plan,
    circular_uniformity,
    linear_circular_wasserstein,
)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 9), (1, 4), (4, 1)])
def test_the_plan_attains_the_distance(p, weighted, n, m):
    x, y = torch.rand(n, generator=generator(n)).double(), torch.rand(m, generator=generator(m + 50)).double()
    a, b = (torch.rand(k, generator=generator(k)).double() if weighted else None for k in (n, m))
    if weighted:
        a, b = a / a.sum(), b / b.sum()
    plan = circular_plan(x, y, a, b, p=p)
    row, col = plan.marginals()
    torch.testing.assert_close(row, torch.full_like(x, 1 / n) if a is None else a, rtol=0, atol=1e-12)
    torch.testing.assert_close(col, torch.full_like(y, 1 / m) if b is None else b, rtol=0, atol=1e-12)
    cost = plan.transport_cost(Circle(x, y, p=p))
    torch.testing.assert_close(cost, circular_wasserstein(x, y, a, b, p=p) ** p, rtol=1e-9, atol=1e-12)


def test_shift_of_the_definition_and_of_the_native_loop_cost_the_same():
    x, y = torch.rand(9, 7, generator=generator()).double(), torch.rand(9, 11, generator=generator(1)).double()
    problem = row_problem(x, y, None, None)
    lifts = reference._lift(problem.x, None), reference._lift(problem.y, None)
    costs = [
        reference._cost(*lifts, shift[:, None], 2.0)
        for shift in (kernels.circle_shift(x, y), reference.circle_shift(problem, 2.0))
    ]
    torch.testing.assert_close(*costs)


def test_angles_scale_the_distance():
    x, y = torch.rand(7, generator=generator()).double(), torch.rand(7, generator=generator(1)).double()
    turned = circular_wasserstein(2 * math.pi * x, 2 * math.pi * y, circumference=2 * math.pi)
    torch.testing.assert_close(turned, 2 * math.pi * circular_wasserstein(x, y))


def test_embedding_carries_the_linear_distance():
    x, y = torch.rand(8, generator=generator()).double(), torch.rand(5, generator=generator(1)).double()
    a = torch.rand(8, generator=generator(2)).double()
    difference = circular_embedding(x, a, size=20_000) - circular_embedding(y, size=20_000)
    wrapped = difference - difference.round()
    torch.testing.assert_close(wrapped.square().mean().sqrt(), linear_circular_wasserstein(x, y, a), rtol=1e-3, atol=0)


def test_embedding_to_uniform_is_the_exact_distance():
    x = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64)
    assert circular_embedding(x, size=30_000).square().mean().item() == pytest.approx(0.0211111, rel=1e-3)


def test_density_of_a_mean_embedding_lies_between():
    x = 0.2 + 0.01 * torch.randn(400, generator=generator()).double()
    y = x + 0.3
    middle = (circular_embedding(x) + circular_embedding(y)) / 2
    density = circular_barycenter_density(middle, bins=100)
    assert density.mean().item() == pytest.approx(1.0)
    assert abs((density.argmax().item() + 0.5) / 100 - 0.35) < 0.02


def test_circle_gradient_through_the_root_is_finite_at_zero():
    x = torch.rand(5, generator=generator()).double().requires_grad_()
    (slope,) = torch.autograd.grad(circular_wasserstein(x, x.detach()), x)
    assert slope.isfinite().all()


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("alike", [True, False])
def test_pairwise_equals_the_loop(p, alike):
    sizes = (6, 6, 6, 6) if alike else (6, 3, 9, 1)
    clouds = [torch.randn(n, 3, generator=generator(k)).double() for k, n in enumerate(sizes)]
    weights = None if alike else [torch.rand(n, generator=generator(n)).double() for n in sizes]
    theta = directions(12, 3, generator=generator(), dtype=torch.float64)
    found = pairwise_sliced_wasserstein(clouds, weights, p=p, theta=theta)
    for k in range(4):
        for l in range(4):
            a, b = (None, None) if alike else (weights[k], weights[l])
            one = sliced_wasserstein(clouds[k], clouds[l], a, b, p=p, theta=theta).distance
            torch.testing.assert_close(found[k, l], one, atol=1e-9, rtol=1e-9)


def test_the_distance_to_the_uniform_law_is_closed():
    x, a = torch.rand(3, 7, generator=generator()).double(), torch.rand(7, generator=generator(1)).double()
    fine = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    for weights in (None, a):
        closed = circular_uniformity(x, weights)
        sampled = circular_wasserstein(x, fine.expand(3, -1), None if weights is None else weights.expand(3, -1))
        torch.testing.assert_close(closed, sampled.square(), rtol=1e-3, atol=1e-6)
        linear = linear_circular_wasserstein(x, fine.expand(3, -1), None if weights is None else weights.expand(3, -1))
        torch.testing.assert_close(closed, linear.square(), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(circular_uniformity(x + 0.3), circular_uniformity(x))
    torch.testing.assert_close(circular_uniformity(24 * x, circumference=24.0), 24**2 * circular_uniformity(x))
    assert torch.autograd.gradcheck(circular_uniformity, (x.requires_grad_(), a.requires_grad_()))


def test_the_arcs_at_the_cut_are_one_arc():
    x, y = torch.tensor([0.1], dtype=torch.float64), torch.tensor([0.9], dtype=torch.float64)
    assert circular_wasserstein(x, y, p=1.0).item() == pytest.approx(0.2)  # an integral from 0 to 1 alone gives 0.1
    u, v = torch.rand(200, 6, generator=generator()).double(), torch.rand(200, 5, generator=generator(1)).double()
    turned = circular_wasserstein(u + 0.37, v + 0.37, p=1.0)
    torch.testing.assert_close(turned, circular_wasserstein(u, v, p=1.0), rtol=0, atol=1e-12)
    near = circular_wasserstein(u, v, p=1.0 + 1e-6) ** (1.0 + 1e-6)
    torch.testing.assert_close(near, circular_wasserstein(u, v, p=1.0), rtol=1e-4, atol=1e-6)


def test_shifted_quantiles_are_told_by_their_bound():
    x, y = (torch.tensor(t, dtype=torch.float64) for t in ([0.2, 0.5, 0.8], [0.4, 0.5, 0.7]))
    assert linear_circular_wasserstein(x, y).item() ** 2 == pytest.approx(0.0266667, abs=1e-7)  # not 0.0127
    reflected = linear_circular_wasserstein(-x, -y)
    torch.testing.assert_close(reflected, linear_circular_wasserstein(x, y))
    one, other = torch.rand(50, 1, generator=generator()).double(), torch.rand(50, 1, generator=generator(1)).double()
    gap = (one - other).abs()[:, 0]
    torch.testing.assert_close(linear_circular_wasserstein(one, other), torch.minimum(gap, 1 - gap))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_embeddings_carry_the_sliced_distance(p):
    x, y = torch.randn(2, 12, 3, generator=generator()).double(), torch.randn(12, 3, generator=generator(1)).double()
    a = torch.rand(2, 12, generator=generator(2)).double()
    theta = directions(9, 3, generator=generator(7), dtype=torch.float64)

    def far(one, other):
        return (one - other).flatten(-2).norm(p=p, dim=-1)

    embedded = sliced_embedding(x, theta=theta, p=p), sliced_embedding(y, theta=theta, p=p)
    torch.testing.assert_close(far(*embedded), sliced_wasserstein(x, y, p=p, theta=theta).distance)
    fine = sliced_embedding(x, a, theta=theta, size=5000, p=p), sliced_embedding(y, theta=theta, size=5000, p=p)
    torch.testing.assert_close(far(*fine), sliced_wasserstein(x, y, a, p=p, theta=theta).distance, rtol=5e-3, atol=0)
    a[:, 0] = 0  # absent: at no level
    moved = x.clone()
    moved[:, 0] = 1e6
    torch.testing.assert_close(
        sliced_embedding(moved, a, theta=theta, size=40), sliced_embedding(x, a, theta=theta, size=40)
    )
    with pytest.raises(ShapeError, match="one direction a row"):
        sliced_embedding(x, theta=theta[:, :2])


def test_wrong_input_is_told():
    with pytest.raises(ShapeError, match="at least one cloud"):
        pairwise_sliced_wasserstein([])
    with pytest.raises(InputError, match="NaN"):
        circular_wasserstein(torch.tensor([math.nan]), torch.tensor([0.0]))
    with pytest.raises(InputError, match="circumference"):
        circular_wasserstein(torch.tensor([0.1]), torch.tensor([0.0]), circumference=0.0)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("unit", [1e-200, 1e200])
@pytest.mark.parametrize("sizes", [(5, 5, 5), (5, 4, 3)])
def test_pairwise_distances_have_any_unit(p, unit, sizes):
    g = torch.Generator().manual_seed(0)
    clouds = [torch.randn(n, 2, generator=g, dtype=torch.float64) for n in sizes]
    theta = directions(6, 2, generator=g, dtype=torch.float64)
    expected = pairwise_sliced_wasserstein(clouds, theta=theta, p=p)
    found = pairwise_sliced_wasserstein([unit * cloud for cloud in clouds], theta=theta, p=p)
    torch.testing.assert_close(found / unit, expected)


def test_pairwise_powers_that_vanish_are_refused():
    near = torch.tensor([[1.0]], dtype=torch.float64)
    clouds = [near, near, near + 1e-3, 0 * near]
    theta = torch.ones(1, 1, dtype=torch.float64)
    assert pairwise_sliced_wasserstein(clouds, theta=theta, p=50)[0, 1] == 0
    with pytest.raises(InputError, match="vanish"):
        pairwise_sliced_wasserstein(clouds, theta=theta, p=150)
