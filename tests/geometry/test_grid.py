from __future__ import annotations

import math

import pytest
import torch
from dense import Bare, assert_answers, questions, smooth_answers

from monge import _arrays
from monge.errors import DtypeError, InputError, ShapeError
from monge.geometry import Circle, CostMatrix, Grid, Line, PointCloud, _separable


def coordinates(*sizes: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)


def dense(axes, p: float = 2.0) -> torch.Tensor:
    points = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    return (points[:, None] - points).abs().pow(p).sum(-1)


@pytest.fixture(params=["products", "logs", "logs, many blocks"])
def _paths(request, monkeypatch):
    if request.param != "products":
        monkeypatch.setattr(_separable, "_resolved", lambda cost, epsilon: False)
    if "blocks" in request.param:
        monkeypatch.setattr(_arrays, "BLOCK_BYTES", 300)


@pytest.mark.usefixtures("_paths")
@pytest.mark.parametrize("sizes", [(1,), (7,), (1, 1), (5, 3), (1, 4), (2, 3, 4), (2, 1, 2, 3)])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_separable_is_dense(sizes, p):
    axes = coordinates(*sizes)
    assert_answers(Grid(axes, p), dense(axes, p), tolerance=1e-9)


@pytest.mark.usefixtures("_paths")
def test_two_grids_and_mixed_axes():
    x, y = torch.rand(4, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    around, table = Circle(x, y, 1.5), CostMatrix(torch.rand(2, 5, dtype=torch.float64))
    grid = Grid((around, table, Line(y, x)))
    assert grid.source_shape == (4, 2, 3)
    assert grid.target_shape == (3, 5, 4)
    first, second, third = around.dense(), table.dense(), Line(y, x).dense()
    wanted = first[:, None, None, :, None, None] + second[:, None, None, :, None] + third[:, None, None, :]
    wanted = (
        first.reshape(4, 1, 1, 3, 1, 1) + second.reshape(1, 2, 1, 1, 5, 1) + third.reshape(1, 1, 3, 1, 1, 4)
    ).reshape(24, 60)
    assert_answers(grid, wanted, tolerance=1e-9)


@pytest.mark.usefixtures("_paths")
def test_batches_of_axes_and_temperatures():
    x = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.stack([torch.stack([dense((s, t)) for t in y]) for s in x[:, 0]])
    grid = Grid((x, y))
    epsilon = torch.tensor([[0.3], [1.0], [4.0]], dtype=torch.float64).expand(3, 2)
    assert_answers(grid, wanted, epsilon, tolerance=1e-9)
    torch.testing.assert_close(grid[2, 1].dense(), wanted[2, 1])


@pytest.mark.usefixtures("_paths")
def test_batch_of_measures_on_one_grid():
    axes = coordinates(3, 4)
    ask, cost = questions((5,), 12, 12), dense(axes)
    found = Grid(axes)._softmin(ask["g"], ask["log_b"], 0.4)
    torch.testing.assert_close(found, Bare(cost)._softmin(ask["g"], ask["log_b"], 0.4))
    found = Grid(axes)._apply(None, ask["log_b"], ask["v"][0], 0.4)
    torch.testing.assert_close(found, Bare(cost)._apply(None, ask["log_b"], ask["v"][0], 0.4))


@pytest.mark.usefixtures("_paths")
def test_first_and_second_derivatives():
    axes = coordinates(2, 3)
    ask = questions((), 6, 6)

    def total(x, y, f, g, v, epsilon):
        return smooth_answers(Grid((x, y)), {**ask, "f": f, "g": g, "v": v}, epsilon)

    epsilon = torch.tensor(0.8, dtype=torch.float64)
    tensors = [t.requires_grad_() for t in (*axes, ask["f"], ask["g"], ask["v"], epsilon)]
    assert torch.autograd.gradcheck(total, tensors)
    assert torch.autograd.gradgradcheck(total, tensors, fast_mode=True)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_temperature(epsilon, dtype):
    grid = Grid((torch.linspace(0, 1, 9, dtype=dtype), torch.linspace(0, 1, 7, dtype=dtype)))
    ask = questions((), 63, 63, dtype)
    wanted = Bare(grid.dense())._softmin(0.1 * ask["g"], ask["log_b"], epsilon)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(
        grid._softmin(0.1 * ask["g"], ask["log_b"], epsilon), wanted, rtol=tolerance, atol=tolerance * max(1, epsilon)
    )


def test_far_mass_survives():
    # The heaviest column is far away: a plain kernel product would underflow long before.
    grid = Grid((torch.linspace(0, 1, 50),))
    log_b = torch.full((50,), -200.0)
    log_b[49] = 0.0
    zero = torch.zeros(50)
    wanted = Bare(grid.dense().double())._softmin(zero.double(), log_b.double(), 1e-3)
    torch.testing.assert_close(grid._softmin(zero, log_b, 1e-3).double(), wanted, rtol=1e-5, atol=1e-6)


def test_zero_weights():
    axes = coordinates(3, 4)
    cost, ask = dense(axes), questions((), 12, 12)
    log_b = ask["log_b"].clone()
    log_b[::2] = -math.inf
    torch.testing.assert_close(Grid(axes)._softmin(ask["g"], log_b, 0.3), Bare(cost)._softmin(ask["g"], log_b, 0.3))
    for here, there in zip(
        Grid(axes)._sinkhorn(ask["g"], log_b, log_b, 0.3),
        Bare(cost)._sinkhorn(ask["g"], log_b, log_b, 0.3),
        strict=True,
    ):
        torch.testing.assert_close(here, there)
    nothing = Grid(axes)._softmin(ask["g"], torch.full_like(log_b, -math.inf), 0.3)
    assert (nothing == math.inf).all()


def test_forbidden_moves():
    table = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table[0, 1] = table[2, 2] = math.inf
    (x,) = coordinates(2)
    grid = Grid((CostMatrix(table), x))
    wanted = (table.reshape(4, 1, 3, 1) + dense((x,)).reshape(1, 2, 1, 2)).reshape(8, 6)
    assert_answers(grid, wanted, tolerance=1e-9)
    log_b = torch.tensor([-math.inf, -math.inf, 0, 0, -math.inf, -math.inf], dtype=torch.float64)
    g = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    found = grid._softmin(g, log_b, 0.5)
    assert found[:2].isinf().all()
    assert found[2:].isfinite().all()
    (grad,) = torch.autograd.grad(found[2:].sum(), g)
    assert grad.isfinite().all()


def test_factors_have_the_rank_of_space():
    axes = coordinates(3, 4, 2)
    left, right = Grid(axes).factors()
    assert left.shape == (24, 5)
    assert Grid(axes, 1.0).factors() is None
    mixed = Grid((Line(axes[0], axes[0]), CostMatrix(dense(axes[1:2]))))
    assert mixed.factors() is None
    torch.testing.assert_close(left @ right.mT, dense(axes))


def test_pixels_are_numbered_as_flatten_does():
    grid = Grid((3, 4))
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    points = torch.stack([rows.flatten(), columns.flatten()], -1)
    torch.testing.assert_close(grid.dense(), PointCloud(points, points).dense())
    assert Grid((3, torch.zeros(2).double())).dtype == torch.float64


def test_large_grid_is_quick_and_small():
    # 25,600 points: a dense cost would take 2.6 GB.
    grid = Grid((160, 160))
    ask = questions((), 25600, 25600, torch.float32)
    assert grid._softmin(ask["g"], ask["log_b"], 150.0).isfinite().all()
    assert grid._inner(ask["log_b"], ask["log_b"], 2500.0).isfinite()
    values, index = grid._ctransform(ask["g"])
    assert (values <= -ask["g"] + 1e-5).all()
    assert index.shape == (25600,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((),), InputError, r"\(64, 64\)"),
        ((5,), InputError, r"\(64, 64\)"),
        (((3, 0),), InputError, r"axes\[1\] must be a positive number of pixels"),
        (((3, "a"),), InputError, r"axes\[1\]"),
        (((3, 3), 0.5), InputError, r"p must lie in \[1"),
        (((CostMatrix(torch.zeros(2, 2)),), 2.0), InputError, "give each geometry its own p"),
        (((torch.zeros(3), torch.zeros(3).double()),), DtypeError, "share one dtype"),
        (((torch.zeros(2, 3), torch.zeros(3, 3)),), ShapeError, "must broadcast"),
        (((torch.tensor([0.0, math.nan]), 2),), InputError, "NaN"),
    ],
)
def test_errors_say_what_to_do(arguments, error, message):
    with pytest.raises(error, match=message):
        Grid(*arguments)
