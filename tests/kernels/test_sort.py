"""Sorts against torch's own, ties, NaN and signed zeros included."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from monge.kernels import _extension, argsort, sort


@pytest.fixture(params=["native", "reference"])
def twin(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    elif not _extension.AVAILABLE:
        pytest.skip("the native kernels are not built")


def draw(kind: str, *shape: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "ties":
        return torch.randint(-3, 3, shape, generator=generator).to(dtype)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    if kind == "narrow":  # all leading bits agree
        return (1 + 1e-8 * x).to(dtype)
    if kind == "wide":
        return (x * 10.0 ** (300 * x.sign() * x.abs().clamp(max=1) * 0.1)).to(dtype)
    if kind == "strange":
        x.view(-1)[::3] = math.inf
        x.view(-1)[1::5] = -math.inf
        x.view(-1)[2::7] = math.nan
        x.view(-1)[3::7] = -math.nan
        x.view(-1)[4::7] = 0.0
        x.view(-1)[5::7] = -0.0
    return x.to(dtype)


@pytest.mark.parametrize("kind", ["plain", "ties", "narrow", "wide", "strange"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (63,), (5, 100), (2, 3, 1000), (300, 700), (0,), (4, 0), (0, 4)])
def test_like_torch(twin, kind, dtype, shape):
    x = draw(kind, *shape, dtype=dtype)
    expected, places = torch.sort(x, dim=-1, stable=True)
    values, indices = argsort(x)
    assert torch.equal(indices, places)
    assert torch.equal(values.nan_to_num(7.5), expected.nan_to_num(7.5))
    assert torch.equal(sort(x).nan_to_num(7.5), expected.nan_to_num(7.5))


def test_views_and_inputs_survive(twin):
    x = draw("plain", 40, 30)
    kept = x.clone()
    assert torch.equal(sort(x.T), torch.sort(x.T).values)
    assert torch.equal(argsort(x[:, ::2])[1], torch.sort(x[:, ::2]).indices)
    assert torch.equal(x, kept)


def test_threads_agree():
    x = draw("plain", 1000, 700)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert torch.equal(sort(x), torch.sort(x).values)
            assert torch.equal(argsort(x)[1], torch.sort(x).indices)
    finally:
        torch.set_num_threads(threads)


def test_gradients(twin):
    x = draw("plain", 3, 6).requires_grad_()
    assert gradcheck(sort, (x,))
    assert gradgradcheck(lambda x: sort(x).sin(), (x,))
    values, indices = argsort(x)
    assert torch.equal(values, x.gather(-1, indices))
    (values * torch.arange(6.0).double()).sum().backward()
    assert torch.equal(x.grad.gather(-1, indices), torch.arange(6.0).double().expand(3, 6))


def test_half_precision():
    x = draw("plain", 50).half()
    assert torch.equal(sort(x), torch.sort(x).values)


@pytest.mark.skipif(not _extension.AVAILABLE, reason="the operators are the native ones")
def test_operators_are_sound():
    x = draw("plain", 3, 6)
    torch.library.opcheck(torch.ops.monge.sort.default, (x,))
    torch.library.opcheck(torch.ops.monge.argsort.default, (x.requires_grad_(),))
