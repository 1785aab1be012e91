from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dense import assert_answers, questions, smooth_answers
from scipy.spatial.distance import cdist

from monge.errors import DtypeError, InputError, ShapeError
from monge.geometry import CostMatrix, PointCloud, _stream

NAMES = ["sqeuclidean", "euclidean", "cityblock", "chebyshev", "minkowski", "cosine", "dot"]


def clouds(n: int, m: int, d: int, *batch: int, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*batch, n, d, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randn(*batch, m, d, generator=generator, dtype=torch.float64).to(dtype) + 0.5
    return x, y


def scipy_cost(x: torch.Tensor, y: torch.Tensor, name: str, p: float = 2.0) -> torch.Tensor:
    if name == "dot":
        return -(x @ y.mT)
    order = {"p": p} if name == "minkowski" else {}
    return torch.from_numpy(cdist(x.numpy(), y.numpy(), name, **order))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (1, 5, 3), (13, 9, 2), (6, 7, 20)])
def test_named_as_in_scipy(name, n, m, d):
    x, y = clouds(n, m, d)
    p = 3.0 if name == "minkowski" else 2.0
    assert_answers(PointCloud(x, y, name, p), scipy_cost(x, y, name, p), tolerance=1e-9)


@pytest.mark.parametrize("name", ["euclidean", "cityblock", "chebyshev", "minkowski"])
@pytest.mark.parametrize("power", [0.5, 1.5, 2, 4.0])
def test_power_of_a_norm(name, power):
    x, y = clouds(6, 4, 3)
    p = 2.5 if name == "minkowski" else 2.0
    assert_answers(PointCloud(x, y, name, p, power), scipy_cost(x, y, name, p) ** power, tolerance=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_batches_broadcast(name):
    x, _ = clouds(5, 4, 3, 2, 1)
    _, y = clouds(5, 4, 3, 3)
    dense = torch.stack([torch.stack([scipy_cost(s, t, name) for t in y]) for s in x[:, 0]])
    assert_answers(PointCloud(x, y, name), dense, tolerance=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_float32(name):
    x, y = clouds(12, 9, 3, dtype=torch.float32)
    cost = scipy_cost(x.double(), y.double(), name).float()
    assert_answers(PointCloud(x, y, name), cost, tolerance=2e-5)


def distance(x, y):
    return (x - y).square().sum(-1).add(0.1).sqrt()


@pytest.mark.parametrize("cost", [*NAMES, distance])
def test_first_and_second_derivatives(cost):
    x, y = clouds(4, 3, 2)
    ask = questions((), 4, 3)

    def total(x, y, g, v):
        p = 3.0 if cost == "minkowski" else 2.0
        return smooth_answers(PointCloud(x, y, cost, p), {**ask, "g": g, "v": v})

    tensors = [t.requires_grad_() for t in (x, y, ask["g"], ask["v"])]
    assert torch.autograd.gradcheck(total, tensors)
    assert torch.autograd.gradgradcheck(total, tensors, fast_mode=True)


def test_coincident_points_have_finite_gradients():
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    for name in ("euclidean", "cityblock", "chebyshev", "minkowski"):
        geometry = PointCloud(x, x.detach(), name, 3.0 if name == "minkowski" else 2.0)
        (grad,) = torch.autograd.grad(geometry._softmin(torch.zeros(3).double(), torch.zeros(3).double(), 1.0).sum(), x)
        assert (grad == 0).all()


def test_function_as_cost():
    x, y = clouds(6, 4, 3)
    assert_answers(PointCloud(x, y, lambda x, y: (x - 2 * y).abs().sum(-1)), scipy_cost(x, 2 * y, "cityblock"))


def test_function_that_is_not_symmetric_is_transposed():
    x, y = clouds(6, 4, 3)
    geometry = PointCloud(x, y, lambda x, y: (x * y.exp()).sum(-1))
    torch.testing.assert_close(geometry.T.dense(), geometry.dense().mT)
    torch.testing.assert_close(geometry.T.T.dense(), geometry.dense())


def test_function_with_parameters_learns():
    x, y = clouds(6, 4, 3)
    net = torch.nn.Linear(3, 1, bias=False).double()
    log_b = torch.zeros(4, dtype=torch.float64)
    found = PointCloud(x, y, lambda x, y: net(x - y)[..., 0].square())._softmin(log_b, log_b, 0.5)
    wanted = -0.5 * torch.logsumexp(-net(x[:, None] - y)[..., 0].square() / 0.5, -1)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), net.weight), torch.autograd.grad(wanted.sum(), net.weight)
    )


def test_mass_that_moves_little():
    # Clouds of radius 1e4 and displacements of 1e-3: moments would keep no digit.
    x, _ = clouds(50, 50, 3)
    x = 1e4 * x
    y = x + 1e-3
    geometry = PointCloud(x, y)
    log = torch.full((50,), -math.log(50), dtype=torch.float64)
    torch.testing.assert_close(
        geometry._inner(log, torch.zeros_like(log), 1e-6).item(), 3e-6 * math.exp(-3), rtol=1e-6, atol=0
    )


def test_factors_are_exact_far_from_the_origin():
    x, y = clouds(20, 10, 3)
    left, right = PointCloud(x + 1e6, y + 1e6).factors()
    assert left.shape == (20, 5)
    assert right.shape == (10, 5)
    torch.testing.assert_close(
        left @ right.mT, torch.from_numpy(cdist(x + 1e6, y + 1e6, "sqeuclidean")), rtol=1e-8, atol=1e-8
    )
    assert PointCloud(x, y, "cityblock").factors() is None


def test_cosine_of_tiny_and_huge_vectors():
    x, y = clouds(5, 4, 3)
    scale = torch.tensor([1e-200, 1.0, 1e200, 1e-160, 1e5], dtype=torch.float64)[:, None]
    torch.testing.assert_close(PointCloud(x * scale, y, "cosine").dense(), scipy_cost(x, y, "cosine"))


def test_half_precision_points():
    x, y = clouds(7, 5, 3, dtype=torch.float16)
    answer = PointCloud(x, y)._softmin(torch.zeros(5), torch.zeros(5), 0.5)
    wanted = PointCloud(x.double(), y.double())._softmin(torch.zeros(5).double(), torch.zeros(5).double(), 0.5)
    torch.testing.assert_close(answer.double(), wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(3, 2), torch.zeros(4, 3)), ShapeError, "x has 2 coordinates and y has 3"),
        ((torch.zeros(3), torch.zeros(4, 3)), ShapeError, r"x\[:, None\]"),
        (
            (torch.zeros(2, 3, 2), torch.zeros(3, 3, 2)),
            ShapeError,
            "batch dimensions of x and y must broadcast",
        ),
        ((torch.zeros(0, 2), torch.zeros(4, 2)), ShapeError, "at least one point"),
        (
            (torch.zeros(3, 2), torch.zeros(4, 2).double()),
            DtypeError,
            r"x and y must share one dtype, but have torch.float32 and torch.float64",
        ),
        ((torch.zeros(3, 2).bool(), torch.zeros(4, 2)), DtypeError, r"x.float\(\)"),
        ((np.zeros((3, 2), dtype=complex), torch.zeros(4, 2)), DtypeError, "real and imaginary"),
        ((torch.tensor([[1.0, math.nan]]), torch.zeros(4, 2)), InputError, r"x .*NaN.*first at \(0, 1\)"),
        ((torch.ones(3, 2), torch.ones(4, 2), "manhattan"), InputError, "cityblock"),
        ((torch.ones(3, 2), torch.ones(4, 2), "minkowski", 0.5), InputError, r"p must lie in \[1"),
        ((torch.ones(3, 2), torch.ones(4, 2), "euclidean", 3.0), InputError, "minkowski"),
        ((torch.ones(3, 2), torch.ones(4, 2), "euclidean", 2.0, 0.0), InputError, "power must lie in"),
        ((torch.ones(3, 2), torch.ones(4, 2), "euclidean", 2.0, math.inf), InputError, "power must lie in"),
        (
            (torch.ones(3, 2), torch.ones(4, 2), "sqeuclidean", 2.0, 3.0),
            InputError,
            "cost='euclidean', power=3",
        ),
        ((torch.ones(3, 2), torch.zeros(4, 2), "cosine"), InputError, "4 points of y are zero"),
        ((torch.ones(3, 2), torch.ones(4, 2), lambda x, y: x - y), ShapeError, "reduce the last dimension"),
        ((torch.ones(3, 2), torch.ones(4, 2), lambda x, y: 1.0), ShapeError, "returned float"),
    ],
)
def test_errors_say_what_to_do(arguments, error, message):
    with pytest.raises(error, match=message):
        PointCloud(*arguments)


@pytest.mark.parametrize("shape", [(1, 1), (6, 4), (2, 5, 3)])
def test_cost_matrix(shape):
    cost = torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_answers(CostMatrix(cost), cost)


def test_cost_matrix_with_forbidden_pairs():
    cost = torch.rand(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cost[torch.eye(8, 6).bool()] = math.inf
    assert_answers(CostMatrix(cost), cost)


def test_cost_matrix_derivatives():
    cost = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    ask = questions((), 4, 3)
    assert torch.autograd.gradcheck(lambda c: smooth_answers(CostMatrix(c), ask), (cost,))
    assert torch.autograd.gradgradcheck(lambda c: smooth_answers(CostMatrix(c), ask), (cost,), fast_mode=True)


@pytest.mark.parametrize(
    ("cost", "error", "message"),
    [
        (torch.zeros(3), ShapeError, "matrix"),
        (torch.zeros(3, 0), ShapeError, "n, m >= 1"),
        (torch.tensor([[math.nan]]), InputError, "NaN"),
        (torch.tensor([[-math.inf]]), InputError, "neither NaN nor -inf"),
        (None, DtypeError, "as_tensor"),
    ],
)
def test_cost_matrix_errors(cost, error, message):
    with pytest.raises(error, match=message):
        CostMatrix(cost)


@pytest.mark.parametrize("cost", ["euclidean", distance])
def test_one_problem_of_a_batch(cost):
    x, _ = clouds(5, 4, 3, 2, 1)
    _, y = clouds(5, 4, 3, 3)
    geometry = PointCloud(x, y, cost)
    torch.testing.assert_close(geometry[1, 2].dense(), geometry.dense()[1, 2])
    torch.testing.assert_close(geometry[:, 1:].T.dense(), geometry.T.dense()[:, 1:])
    assert geometry[0].shape == (5, 4)


@pytest.mark.parametrize("name", NAMES)
def test_transport_costs_take_the_fast_path(name, monkeypatch):
    # A silent fall back to blocks would be right, and a hundred times slower.
    x, y = clouds(40, 30, 3)
    geometry = PointCloud(x, y, name)
    row, col = torch.zeros(40).double() - 7, torch.zeros(30).double()
    wanted = _stream.inner(geometry, row, col, 0.8)
    monkeypatch.setattr(_stream, "inner", None)
    torch.testing.assert_close(geometry._inner(row, col, 0.8), wanted)
