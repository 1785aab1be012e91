"""Transport between normal distributions, against POT, one dimension, and the equations that answers must meet."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from torch import Tensor

import monge
from draws import cloud
from monge import Gaussian
from monge.errors import ConvergenceWarning, DtypeError, InfeasibleError, InputError, ShapeError


def normal(d: int, seed: int, batch: int | None = None, rank: int | None = None) -> Gaussian:
    """A distribution, or a batch of them, with covariances of full or given rank."""
    shape = (d,) if batch is None else (batch, d)
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, generator=generator, dtype=torch.float64)
    factor = torch.randn(*shape, rank or d + 2, generator=generator, dtype=torch.float64)
    return Gaussian(mean, factor @ factor.mT / d)


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_distance_and_map_are_those_of_pot(d: int, scale: float) -> None:
    first, second = normal(d, 0), normal(d, 1)
    first, second = (Gaussian(scale * g.mean, scale**2 * g.covariance) for g in (first, second))
    given = (first.mean, second.mean, first.covariance, second.covariance)
    theirs = ot.gaussian.bures_wasserstein_distance(*given)
    torch.testing.assert_close(first.distance(second), theirs.reshape(()), rtol=1e-9, atol=0)
    torch.testing.assert_close(first.transport_cost(second), theirs.reshape(()) ** 2, rtol=1e-9, atol=0)
    matrix, translation = ot.gaussian.bures_wasserstein_mapping(*given)
    found = first.map_to(second)
    torch.testing.assert_close(found.matrix, matrix, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(found.translation, translation.reshape(-1), rtol=1e-7, atol=1e-9 * scale)


def test_empirical_forms_are_those_of_pot() -> None:
    x, y = cloud(30, 3, 0).numpy(), cloud(40, 3, 1).numpy() @ np.diag([1.0, 2.0, 0.5]) + 1
    first, second = Gaussian.of(x), Gaussian.of(y)
    # POT divides by the number of points too, and adds reg to the diagonals.
    theirs = ot.gaussian.empirical_bures_wasserstein_distance(x, y, reg=0.0)
    np.testing.assert_allclose(first.distance(second), theirs, rtol=1e-9)
    matrix, translation = ot.gaussian.empirical_bures_wasserstein_mapping(x, y, reg=0.0)
    moved = first.map_to(second)(x)
    assert isinstance(moved, np.ndarray)
    np.testing.assert_allclose(moved, x @ matrix + translation, rtol=1e-7)
    a = np.arange(1.0, 31.0)
    weighted = Gaussian.of(x, a)
    np.testing.assert_allclose(weighted.covariance, np.cov(x.T, aweights=a, bias=True), rtol=1e-12)


@pytest.mark.parametrize("d", [1, 3])
def test_barycentres_are_those_of_pot_and_solve_the_equation(d: int) -> None:
    given, shares = normal(d, 2, batch=5), torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0], dtype=torch.float64)
    found = given.barycenter(shares, tol=1e-13)
    mean, covariance = ot.gaussian.bures_wasserstein_barycenter(
        given.mean, given.covariance, shares / 10, num_iter=2000, eps=1e-14
    )
    torch.testing.assert_close(found.mean, mean.reshape(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.covariance, covariance, rtol=1e-8, atol=1e-9)
    maps = (shares[:, None, None] / 10 * found.map_to(given).matrix).sum(0)
    torch.testing.assert_close(maps, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-9)


def test_commuting_covariances_average_their_roots() -> None:
    roots = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 7.0]])
    found = Gaussian(torch.zeros(3, 2), torch.diag_embed(roots**2)).barycenter()
    torch.testing.assert_close(found.covariance, torch.diag(roots.mean(0) ** 2))


def test_batches_are_single_problems() -> None:
    first, second = normal(3, 0, batch=4), normal(3, 1)
    together = first.distance(second)
    for k in range(4):
        alone = Gaussian(first.mean[k], first.covariance[k])
        torch.testing.assert_close(together[k], alone.distance(second))
        torch.testing.assert_close(first.map_to(second).matrix[k], alone.map_to(second).matrix)
    stacked = Gaussian(torch.stack([first.mean] * 2), torch.stack([first.covariance, 4 * first.covariance]))
    torch.testing.assert_close(stacked.barycenter().covariance[0], first.barycenter().covariance)
    torch.testing.assert_close(stacked.barycenter().covariance[1], 4 * first.barycenter().covariance)


def test_distances_keep_their_digits_near_zero() -> None:
    """W_2 of N(0, 1) and N(0, (1 + h)^2) is h."""
    for h in (0.0, 1e-12, 1e-6):
        one = Gaussian(torch.zeros(1).double(), torch.ones(1, 1).double())
        other = Gaussian(torch.zeros(1).double(), torch.full((1, 1), (1 + h) ** 2, dtype=torch.float64))
        assert abs(float(one.distance(other)) - h) <= 1e-15


# ---------------------------------------------------------------------- derivatives


def symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


def test_gradients_of_cost_and_map() -> None:
    first, second = normal(3, 4, batch=2), normal(3, 5)

    def answers(mean: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        g, h = Gaussian._make(mean=mean, covariance=symmetric(a)), second._replace(covariance=symmetric(b))
        moved = g.map_to(h)
        return g.transport_cost(h), moved.matrix, moved.translation

    given = [held.clone().requires_grad_() for held in (first.mean, first.covariance, second.covariance)]
    assert torch.autograd.gradcheck(answers, given)
    assert torch.autograd.gradgradcheck(answers, given)


def test_gradients_where_eigenvalues_coincide() -> None:
    """The derivative by A is I - T, which is known where eigenvectors are not."""
    a = torch.eye(3, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64)
    cost = Gaussian(zero, a).transport_cost(Gaussian(zero, 4 * torch.eye(3, dtype=torch.float64)))
    (gradient,) = torch.autograd.grad(cost, a)
    torch.testing.assert_close(gradient, -torch.eye(3, dtype=torch.float64))


def test_gradients_of_the_barycentre() -> None:
    given, shares = normal(2, 6, batch=3), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

    def answer(mean: Tensor, covariance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        found = Gaussian._make(mean=mean, covariance=symmetric(covariance)).barycenter(weights, tol=1e-14)
        return found.mean, found.covariance

    leaves = [held.clone().requires_grad_() for held in (given.mean, given.covariance, shares)]
    assert torch.autograd.gradcheck(answer, leaves)


# ---------------------------------------------------------------------- singular covariances


def test_singular_covariances() -> None:
    """A stick on the first axis, and one on the diagonal: a rotation by 45 degrees moves one onto the other."""
    flat = Gaussian(torch.zeros(2), torch.diag(torch.tensor([1.0, 0.0])))
    diagonal = Gaussian(torch.zeros(2), torch.full((2, 2), 0.5))
    torch.testing.assert_close(flat.transport_cost(diagonal), torch.tensor(2 - 2**0.5))
    moved = flat.map_to(diagonal)(torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(moved, torch.full((1, 2), 2**0.5))
    point = Gaussian([0.0, 0.0], torch.zeros(2, 2))
    assert float(point.distance(flat)) == 1.0
    assert float(point.distance(point)) == 0.0
    torch.testing.assert_close(flat.map_to(point).matrix, torch.zeros(2, 2))
    with pytest.raises(InfeasibleError, match="no map leads"):
        point.map_to(flat)


@pytest.mark.parametrize("seed", range(4))
def test_maps_from_singular_covariances_reach_the_target(seed: int) -> None:
    first, second = normal(4, seed, rank=2), normal(4, seed + 9, rank=2)
    matrix = first.map_to(second).matrix
    torch.testing.assert_close(matrix @ first.covariance @ matrix.mT, second.covariance, rtol=1e-6, atol=1e-7)
    cross = matrix @ first.covariance
    cost = first.covariance.trace() + second.covariance.trace() - 2 * cross.trace()
    moved = (first.mean - second.mean).square().sum()
    torch.testing.assert_close(first.transport_cost(second), cost + moved, rtol=1e-7, atol=0)


def test_gradients_at_singular_covariances_are_finite() -> None:
    a = torch.diag(torch.tensor([1.0, 0.0])).double().requires_grad_()
    first = Gaussian(torch.zeros(2).double(), a)
    (gradient,) = torch.autograd.grad(first.transport_cost(normal(2, 0)), a)
    assert bool(gradient.isfinite().all())


# ---------------------------------------------------------------------- what is refused

EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: Gaussian(torch.zeros(2), torch.eye(3)), ShapeError, "give both the same d"),
        (lambda: Gaussian(torch.zeros(2), torch.eye(2).double()), DtypeError, "one dtype"),
        (lambda: Gaussian(torch.zeros(2), torch.tensor([[1.0, 1.0], [0.0, 1.0]])), InputError, "symmetric"),
        (lambda: Gaussian(torch.zeros(2), -EYE), InputError, "negative eigenvalue"),
        (lambda: Gaussian(torch.zeros(2), EYE * torch.nan), InputError, "covariance must hold neither"),
        (lambda: Gaussian(torch.zeros(2), EYE).distance(EYE), InputError, "must be a Gaussian"),
        (lambda: Gaussian(torch.zeros(2), EYE).distance(normal(2, 0)), DtypeError, "one dtype"),
        (lambda: normal(2, 0).distance(normal(3, 0)), ShapeError, "one space"),
        (lambda: normal(2, 0).barycenter(), ShapeError, "several distributions"),
        (lambda: normal(2, 0, batch=2).barycenter([1.0]), ShapeError, "weights"),
        (lambda: normal(2, 0, batch=2).barycenter(max_iter=0), InputError, "max_iter"),
        (lambda: Gaussian.of(torch.zeros(2)), ShapeError, "x must"),
        (lambda: normal(2, 0).map_to(normal(2, 1))(torch.zeros(4, 3)), ShapeError, "dimension 2"),
        (lambda: monge.api.AffineMap(EYE, torch.zeros(3)), ShapeError, "give both the same d"),
    ],
)
def test_errors_say_what_to_do(call, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        call()


def test_too_few_iterations_are_told() -> None:
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        normal(3, 0, batch=3).barycenter(max_iter=1)
