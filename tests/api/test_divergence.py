"""The Sinkhorn divergence: zero on the diagonal, precise beside it, with a gradient that vanishes there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import monge
from draws import cloud
from monge.errors import CapabilityError, InfeasibleError, InputError
from monge.gradient import Unrolled
from monge.solver import Newton, Simplex, Sinkhorn


def weights(n: int, seed: int = 0) -> Tensor:
    return torch.softmax(cloud(n, 1, seed + 100)[:, 0], 0)


TIGHT = Newton(tol=1e-10)


@pytest.mark.parametrize("rho", [None, 1.5])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "cityblock"])
@pytest.mark.parametrize("epsilon", [0.05, 1.0, 100.0])
def test_definition(rho: float | None, cost: str, epsilon: float) -> None:
    x, y, a, b = cloud(15), cloud(12, 2, 1) + 0.5, weights(15), weights(12, 1)
    if rho is not None:
        a = 1.7 * a

    def entropic(u: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        sides = (p, q) if rho is None else (monge.Relaxed(p, rho), monge.Relaxed(q, rho))
        return monge.solve(monge.Linear(monge.geometry.PointCloud(u, v, cost), *sides, epsilon=epsilon), TIGHT).value

    expected = entropic(x, y, a, b) - (entropic(x, x, a, a) + entropic(y, y, b, b)) / 2
    if rho is not None:
        expected = expected + epsilon / 2 * (a.sum() - b.sum()) ** 2
    found = monge.divergence(x, y, a, b, epsilon=epsilon, cost=cost, rho=rho, solver=TIGHT)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert found > 0
    other = monge.divergence(y, x, b, a, epsilon=epsilon, cost=cost, rho=rho, solver=TIGHT)
    torch.testing.assert_close(found, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rho", [None, 1.5])
@pytest.mark.parametrize("epsilon", [0.02, 0.5, 10.0])
def test_zero_with_zero_gradient_on_the_diagonal(rho: float | None, epsilon: float) -> None:
    x, a = cloud(20).requires_grad_(), weights(20).requires_grad_()
    found = monge.divergence(x, x.detach(), a, a.detach(), epsilon=epsilon, rho=rho, solver=TIGHT)
    assert abs(found.item()) < 1e-8
    by_points, by_weights = torch.autograd.grad(found, (x, a))
    assert by_points.abs().max() < 1e-7
    # Clusters that epsilon does not connect have potentials with a constant each, which nothing decides.
    assert epsilon < 0.1 or (by_weights - by_weights.mean()).abs().max() < 1e-6


def test_digits_survive_in_single_precision() -> None:
    """Far from the origin of values: two clouds a thousandth apart, whose three terms agree to six digits."""
    x = cloud(200, 3)
    y = x + 1e-2
    exact = monge.divergence(x, y, epsilon=0.5, solver=TIGHT)
    found = monge.divergence(x.float(), y.float(), epsilon=0.5)
    torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=0)


def test_large_epsilon_is_the_distance_of_means() -> None:
    """For |x - y|^2 the limit is the energy distance of that power, which sees the means only."""
    x, y = cloud(15), cloud(12, 2, 1) + 1
    found = monge.divergence(x, y, epsilon=1e5, solver=TIGHT)
    torch.testing.assert_close(found, (x.mean(0) - y.mean(0)).square().sum(), rtol=1e-3, atol=0)


def test_small_epsilon_is_transport() -> None:
    x, y = cloud(25), cloud(25, 2, 1) + 1
    found = monge.divergence(x, y, epsilon=monge.relative(2e-3))
    torch.testing.assert_close(found, monge.wasserstein(x, y) ** 2, rtol=2e-2, atol=0)


def test_relative_epsilon_is_one_number_for_all_terms() -> None:
    x, y = cloud(15), 3 * cloud(12, 2, 1) + 2
    epsilon = 0.1 * float(torch.cdist(x, y).square().mean())
    found = monge.divergence(x, y, epsilon=monge.relative(0.1), solver=TIGHT)
    torch.testing.assert_close(found, monge.divergence(x, y, epsilon=epsilon, solver=TIGHT), rtol=1e-9, atol=0)


@pytest.mark.parametrize("rho", [None, 1.5])
def test_gradients(rho: float | None) -> None:
    x, y = cloud(5).requires_grad_(), cloud(4, 2, 1).requires_grad_()
    a, b = weights(5).requires_grad_(), weights(4, 1).requires_grad_()

    def value(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        sides = (a / a.sum(), b / b.sum()) if rho is None else (a, b)
        return monge.divergence(x, y, *sides, epsilon=0.5, rho=rho, solver=Newton(tol=1e-12))

    assert torch.autograd.gradcheck(value, (x, y, a, b), rtol=1e-4)


def test_fixed_depth_gives_the_same() -> None:
    x, y = cloud(8), cloud(8, 2, 1)
    found = monge.divergence(x, y, epsilon=0.5, solver=Sinkhorn(max_iter=300, gradient=Unrolled()))
    torch.testing.assert_close(found, monge.divergence(x, y, epsilon=0.5, solver=TIGHT), rtol=1e-6, atol=1e-9)


def test_batches_are_loops() -> None:
    x, y = torch.stack([cloud(9, 2, k) for k in range(3)]), cloud(7, 2, 9)
    together = monge.divergence(x, y, epsilon=0.3, solver=TIGHT)
    alone = torch.stack([monge.divergence(one, y, epsilon=0.3, solver=TIGHT) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-10)


def test_masked_points_change_nothing() -> None:
    x, y, a, b = cloud(9), cloud(7, 2, 1), weights(9), weights(7, 1)
    far = torch.full((3, 2), 50.0, dtype=torch.float64)
    padded = monge.divergence(
        torch.cat([x, far]), torch.cat([far, y]), torch.cat([a, a.new_zeros(3)]), torch.cat([b.new_zeros(3), b]),
        epsilon=0.3, solver=TIGHT,
    )  # fmt: skip
    torch.testing.assert_close(padded, monge.divergence(x, y, a, b, epsilon=0.3, solver=TIGHT), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda x: monge.divergence(x, x, epsilon=0.0), InputError, "use wasserstein"),
        (lambda x: monge.divergence(x, x, solver=Simplex()), CapabilityError, "Simplex is exact"),
        (lambda x: monge.divergence(x, x, torch.ones(4).double()), InfeasibleError, "same mass"),
        (lambda x: monge.divergence(x, x, rho=-1.0), InputError, "rho"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call(cloud(4))
