from __future__ import annotations

import math

import pytest
import torch
from dense import Bare, assert_answers, questions, smooth_answers

from monge import _arrays
from monge.errors import DenseLimitError, InfeasibleError, InputError, ShapeError
from monge.geometry import Circle, Grid, Line


@pytest.fixture(params=[2**22, 200], ids=["one block", "many blocks"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", request.param)


def random_cost(*shape: int, dtype=torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 9), (2, 5, 4), (2, 1, 5, 4)])
def test_least_geometry_inherits_every_answer(shape):
    cost = random_cost(*shape)
    assert_answers(Bare(cost), cost)


@pytest.mark.usefixtures("_blocks")
def test_temperature_of_each_problem():
    cost = random_cost(3, 6, 5)
    assert_answers(Bare(cost), cost, torch.tensor([0.1, 0.7, 3.0], dtype=torch.float64))


def test_float32():
    cost = random_cost(9, 12, dtype=torch.float32)
    assert_answers(Bare(cost), cost, tolerance=1e-5)


@pytest.mark.usefixtures("_blocks")
def test_forbidden_pairs():
    cost = random_cost(8, 6)
    cost[random_cost(8, 6, seed=1) < 0.3] = math.inf
    cost[2, 0] = cost[0, 3] = 1.0
    assert_answers(Bare(cost), cost)


def test_nothing_left():
    cost = random_cost(4, 3).requires_grad_()
    forbidden = torch.tensor([[False] * 3, [True] * 3, [True, False, True], [False] * 3])
    geometry = Bare(cost.masked_fill(forbidden, math.inf))
    log_b = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64).log()
    g = torch.tensor([0.0, math.inf, 0.0], dtype=torch.float64)  # whatever stands at an absent point
    left = geometry._softmin(g, log_b, 0.5)
    assert left.isinf().tolist() == [False, True, True, False]
    assert (left[[1, 2]] > 0).all()
    mean = geometry._apply(None, log_b, torch.ones(3, 1, dtype=torch.float64), 0.5)
    torch.testing.assert_close(mean[:, 0], torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    (left[[0, 3]].sum() + mean.sum()).backward()
    assert cost.grad is not None
    assert cost.grad.isfinite().all()


@pytest.mark.usefixtures("_blocks")
def test_first_and_second_derivatives():
    ask = questions((), 4, 3)
    names = tuple(ask)
    tensors = [random_cost(4, 3).requires_grad_(), *(ask[name].requires_grad_() for name in names)]

    def total(cost, *rest):
        return smooth_answers(Bare(cost), dict(zip(names, rest, strict=True)))

    assert torch.autograd.gradcheck(total, tensors)
    assert torch.autograd.gradgradcheck(total, tensors, fast_mode=True)


def test_temperature_is_differentiable():
    cost, ask = random_cost(4, 3).requires_grad_(), questions((), 4, 3)
    epsilon = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, e: smooth_answers(Bare(c), ask, e), (cost, epsilon))


def test_small_temperature_is_stable():
    cost = random_cost(20, 30)
    ask = questions((), 20, 30)
    soft = Bare(cost)._softmin(ask["g"], ask["log_b"], 1e-9)
    hard, _ = Bare(cost)._ctransform(ask["g"])
    torch.testing.assert_close(soft, hard, rtol=0, atol=1e-7)
    # Columns that no row reaches within the range of exp still get a potential.
    f, g, error = Bare(cost)._sinkhorn(ask["g"], ask["log_a"], ask["log_b"], 1e-6)
    assert f.isfinite().all()
    assert g.isfinite().all()
    assert error.isfinite()


def test_rows_are_checked():
    geometry = Bare(random_cost(5, 3))
    torch.testing.assert_close(geometry.block(-1), geometry.dense()[4:])
    assert geometry.block([]).shape == (0, 3)
    assert geometry.block(slice(3, 1)).shape == (0, 3)
    with pytest.raises(InputError, match=r"rows must lie in \[-5, 4\]"):
        geometry.block(5)
    with pytest.raises(ShapeError, match="nonzero"):
        geometry.block(torch.ones(5, dtype=torch.bool))


def test_dense_limit():
    with pytest.raises(DenseLimitError, match=r"max_bytes=100.*block\(rows\)"):
        Bare(random_cost(5, 3)).dense(max_bytes=100)


def test_mean_of_forbidden_pairs():
    cost = torch.tensor([[math.inf, 1.0], [2.0, math.inf]], dtype=torch.float64)
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    with pytest.raises(InfeasibleError, match="finite cost"):
        Bare(cost).mean(one, one)
    torch.testing.assert_close(Bare(cost).mean(one), torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(ShapeError, match="one weight per point"):
        Bare(cost).mean(torch.ones(3, dtype=torch.float64))


def test_detach_and_to():
    geometry = Bare(random_cost(5, 3).requires_grad_())
    assert not geometry.detach().cost.requires_grad
    assert geometry.to(torch.float32).dtype == torch.float32
    assert repr(geometry) == "Bare(cost=float64[5, 3])"


def test_one_problem_of_a_batch():
    cost = random_cost(3, 2, 5, 4)
    geometry = Bare(cost)
    assert_answers(geometry[1], cost[1])
    assert_answers(geometry[1, 0], cost[1, 0])
    assert_answers(geometry[torch.tensor([2, 0])], cost[[2, 0]])
    with pytest.raises(InputError, match=r"batch of shape \(3, 2\)"):
        geometry[3]
    with pytest.raises(InputError, match=r"geometry.block\(rows\)"):
        Bare(cost[0, 0])[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_storage(dtype):
    # Squares of 300 overflow in float16; streamed sums must not see that as a forbidden pair.
    x = torch.tensor([0.0, 1.0, 300.0], dtype=dtype)
    zero = torch.zeros(3)
    for geometry in (Circle(x, x, 2, 1000.0), Grid((x,)), Line(x, x)):
        exact = geometry.to(torch.float64)
        torch.testing.assert_close(
            geometry._softmin(zero, zero, 1.0).double(), exact._softmin(zero, zero, 1.0).double()
        )
        apart = geometry._ctransform(torch.tensor([-math.inf, -math.inf, 0.0]))[0]
        torch.testing.assert_close(apart.double()[0].item(), 90000.0, rtol=1e-2, atol=0)
        torch.testing.assert_close(geometry.mean().double(), exact.mean(), rtol=1e-2, atol=0)
