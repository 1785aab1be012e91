"""The monotone plan against a walk in plain Python, linear programmes, and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from monge.errors import DeviceError, DtypeError, ShapeError
from monge.kernels import _extension, monotone, simplex
from monge.kernels.line.monotone import reference


@pytest.fixture(params=["native", "reference"])
def twin(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    elif not _extension.AVAILABLE:
        pytest.skip("the native kernels are not built")


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.01


def balanced(a, b):
    return a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_integer_weights_move_exactly(first, second):
    first, second = [*first, 1 + sum(second)], [*second, 1 + sum(first)]
    a, b = torch.tensor(first).double(), torch.tensor(second).double()
    i, j, w = monotone(a, b)
    assert len(w) == len(a) + len(b) - 1
    assert torch.equal(torch.zeros_like(a).index_add(0, i, w), a)
    assert torch.equal(torch.zeros_like(b).index_add(0, j, w), b)
    assert (torch.diff(i) + torch.diff(j) == 1).all()
    for x, y in zip(reference.monotone(a[None], b[None]), (i, j, w), strict=True):
        assert torch.equal(x[0], y)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (63, 100)])
@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (0,)])
def test_shapes_and_marginals(twin, shape, batch):
    n, m = shape
    a, b = balanced(draw(*batch, n, seed=1), draw(*batch, m, seed=2))
    i, j, w = monotone(a, b)
    assert w.shape == i.shape == j.shape == (*batch, n + m - 1)
    assert (w >= 0).all()
    assert torch.allclose(torch.zeros_like(a).scatter_add(-1, i, w), a, rtol=0, atol=1e-15)
    assert torch.allclose(torch.zeros_like(b).scatter_add(-1, j, w), b, rtol=0, atol=1e-15)


def test_optimal_on_the_line(twin):
    a, b = balanced(draw(12, seed=1), draw(17, seed=2))
    x, y = draw(12, 1, seed=3).sort(0).values, draw(17, 1, seed=4).sort(0).values
    i, j, w = monotone(a, b)
    for power in (1, 1.5, 2, 3):
        exact = simplex((x, y, 2, power), a, b)
        value = (w * (x[i, 0] - y[j, 0]).abs() ** power).sum()
        expected = (exact.w * (x[exact.i, 0] - y[exact.j, 0]).abs() ** power).sum()
        assert float(value) == pytest.approx(float(expected), rel=1e-12)


def test_shared_weights_are_broadcast(twin):
    a, b = balanced(draw(7, seed=1), draw(4, 5, seed=2))
    for one, other in zip(monotone(a, b), monotone(a.expand(4, 7), b), strict=True):
        assert torch.equal(one, other)
    a, b = balanced(draw(3, 1, 7, seed=1), draw(4, 5, seed=2))
    for one, other in zip(monotone(a, b), monotone(a.expand(3, 4, 7), b.expand(3, 4, 5)), strict=True):
        assert torch.equal(one, other)


def test_zero_weights_and_sums_that_differ_by_rounding(twin):
    a = torch.tensor([0.0, 0.1, 0.0, 0.2, 0.7, 0.0], dtype=torch.float64)
    b = torch.full((10,), 0.1, dtype=torch.float64) * (1 + 1e-15)
    b[-1] = 0
    b[0] += 0.1
    for first, second in ((a, b), (b, a)):
        i, j, w = monotone(first, second)
        assert (w >= 0).all()
        assert int(i.max()) < len(first)
        assert int(j.max()) < len(second)
        assert torch.allclose(torch.zeros_like(first).index_add(0, i, w), first, rtol=0, atol=1e-14)
        assert torch.allclose(torch.zeros_like(second).index_add(0, j, w), second, rtol=0, atol=1e-14)


def test_rounding_leaves_nothing_for_absent_atoms(twin):
    a, b = balanced(draw(300, 7, seed=1, dtype=torch.float32), draw(300, 5, seed=2, dtype=torch.float32))
    a = torch.cat([a, torch.zeros(300, 2)], -1)
    for first, second in ((a, b), (b, a)):
        i, j, w = monotone(first, second)
        rows, columns = torch.zeros_like(first).scatter_add(-1, i, w), torch.zeros_like(second).scatter_add(-1, j, w)
        assert ((rows == 0) == (first == 0)).all()
        assert ((columns == 0) == (second == 0)).all()


def test_many_single_precision_weights(twin):
    n = 100_000
    a = torch.full((n,), 1 / n, dtype=torch.float32)
    i, j, w = monotone(a, a)
    assert w.dtype == torch.float32
    assert torch.equal(i[::2], torch.arange(n))
    assert torch.equal(j[::2], torch.arange(n))
    assert float((w[::2] / a - 1).abs().max()) < 1e-5  # a float32 running sum would be off by a thousand times that


@pytest.mark.parametrize("shape", [(1, 4), (5, 5), (6, 3)])
def test_gradients(twin, shape):
    n, m = shape
    a, b = balanced(draw(2, n, seed=1), draw(2, m, seed=2))
    a, b = a.requires_grad_(), b.requires_grad_()
    assert gradcheck(lambda a, b: monotone(a, b)[2], (a, b))
    assert gradgradcheck(lambda a, b: monotone(a, b)[2].sin(), (a, b))
    assert gradcheck(lambda a, b: monotone(a, b)[2], (a[0], b))


def test_gradient_of_the_cost_is_the_potential():
    a, b = balanced(draw(6, seed=1), draw(8, seed=2))
    x, y = draw(6, 1, seed=3).sort(0).values, draw(8, 1, seed=4).sort(0).values
    a, b = a.requires_grad_(), b.requires_grad_()
    i, j, w = monotone(a, b)
    (w * (x[i, 0] - y[j, 0]) ** 2).sum().backward()
    exact = simplex((x, y, 2, 2), a, b)
    assert torch.allclose(a.grad - a.grad[0], exact.f - exact.f[0])
    assert torch.allclose(b.grad - b.grad[0], exact.g - exact.g[0])


def test_half_precision_goes_the_slow_way():
    a, b = draw(5, seed=1).half(), draw(5, seed=1).half()
    assert monotone(a, b)[2].dtype == torch.half


@pytest.mark.skipif(not _extension.AVAILABLE, reason="the operator is the native one")
def test_operator_is_sound():
    a, b = balanced(draw(2, 3, seed=1), draw(2, 4, seed=2))
    torch.library.opcheck(torch.ops.monge.monotone.default, (a.requires_grad_(), b.requires_grad_()))


def test_bad_arguments():
    a = torch.ones(3)
    with pytest.raises(DtypeError, match="share one"):
        monotone(a, a.double())
    with pytest.raises(DeviceError, match="one device"):
        monotone(a, a.to("meta"))
    with pytest.raises(ShapeError, match="at least one"):
        monotone(a, a[:0])
    with pytest.raises(ShapeError, match="batch dimensions of a and b"):
        monotone(a.expand(2, 3), a.expand(4, 3))
