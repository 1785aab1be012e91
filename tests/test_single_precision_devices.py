"""Devices without double precision, played by tensors that are marked: work leaves them, and its answer comes back."""

from __future__ import annotations

import warnings

import pytest
import torch

import monge
from monge import _transforms
from monge.errors import PrecisionWarning
from monge.nn import Attention


@pytest.fixture
def marked(monkeypatch):
    """What marks a tensor as one of such a device, the tensors that were lent, and the answers that came back."""
    there, lent, returned = [], [], []

    def mark(tensor):
        there.append(tensor)
        return tensor

    def lend(tensor):
        lent.append(tensor)
        return tensor.clone()

    taken = _transforms._on_processor

    def watched(*given):
        found = taken(*given)
        returned.append(found)
        return found

    monkeypatch.setattr(_transforms, "_SINGLE", frozenset({"mps"}))
    monkeypatch.setattr(_transforms, "_is_single", lambda tensor: any(tensor is one for one in there))
    monkeypatch.setattr(_transforms, "_to_processor", lend)
    monkeypatch.setattr(_transforms, "_on_processor", watched)
    _transforms._say_once.cache_clear()
    yield mark, lent, returned
    _transforms._say_once.cache_clear()


def clouds():
    g = torch.Generator().manual_seed(0)
    return torch.randn(6, 2, generator=g), torch.randn(7, 2, generator=g)


CALLS = {
    "couple": lambda x, y: monge.couple(x, y).barycentric(torch.ones(7, 1)),
    "entropic": lambda x, y: monge.couple(x, y, epsilon=0.1).barycentric(torch.ones(7, 1)),
    "wasserstein": monge.wasserstein,
    "divergence": lambda x, y: monge.divergence(x, y, epsilon=0.1),
    "pairwise": lambda x, y: monge.pairwise([x, y]),
    "barycenter": lambda x, y: monge.barycenter([x, y], size=3).points,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::monge.errors.PrecisionWarning")
def test_work_leaves_the_device_and_its_answer_comes_back_in_single_precision(marked, name):
    mark, lent, returned = marked
    x, y = clouds()
    right = CALLS[name](x, y)
    assert not returned
    found = CALLS[name](mark(x), mark(y))
    assert len(lent) >= 2
    assert returned
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, right)


@pytest.mark.filterwarnings("ignore::monge.errors.PrecisionWarning")
def test_gradients_come_back_too(marked):
    mark, *_ = marked
    x, y = clouds()
    leaf = mark(x.clone()).requires_grad_()
    (slope,) = torch.autograd.grad(monge.wasserstein(leaf, mark(y)), leaf)
    plain = x.clone().requires_grad_()
    (right,) = torch.autograd.grad(monge.wasserstein(plain, y), plain)
    torch.testing.assert_close(slope, right)


def test_it_is_said_once(marked):
    mark, *_ = marked
    x, y = clouds()
    with pytest.warns(PrecisionWarning, match="have no double precision"):
        monge.wasserstein(mark(x), mark(y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monge.wasserstein(mark(x), mark(y))


def test_attention_stays_where_it_is(marked):
    mark, lent, _ = marked
    layer = Attention(8, 2, "softmax")
    layer(mark(torch.randn(2, 5, 8)))
    assert not lent
