"""Assignments against SciPy and enumeration, with their own certificate."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from monge.errors import DtypeError, InfeasibleError, InputError, ShapeError
from monge.kernels import _extension, assignment


@pytest.fixture(params=["native", "reference"])
def twin(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(_extension, "AVAILABLE", False)
    elif not _extension.AVAILABLE:
        pytest.skip("the native kernels are not built")


def source(seed):
    return torch.Generator().manual_seed(seed)


def draw(kind: str, *shape: int) -> torch.Tensor:
    n = shape[-1]
    if kind == "integer":
        return torch.randint(-3, 6, shape, generator=source(1)).double()
    if kind == "constant":
        return torch.full(shape, -2.0, dtype=torch.float64)
    if kind == "planar":
        x = torch.rand(*shape[:-2], n, 2, generator=source(2), dtype=torch.float64)
        y = torch.rand(*shape[:-2], n, 2, generator=source(3), dtype=torch.float64)
        return torch.cdist(x, y) ** 2
    cost = torch.rand(*shape, generator=source(4), dtype=torch.float64)
    if kind == "forbidden":
        cost[torch.rand(*shape, generator=source(5)) < 0.6] = math.inf
        cost.diagonal(dim1=-2, dim2=-1).fill_(7)
    return cost


def certify(cost, matching) -> torch.Tensor:
    perm, f, g = matching
    n = cost.shape[-1]
    assert torch.equal(perm.sort(-1).values, torch.arange(n).expand(perm.shape))
    scale = float(cost[cost.isfinite()].abs().max()) if n else 0.0
    reduced = cost - f[..., :, None] - g[..., None, :]
    assert (reduced >= -1e-13 * scale).all()
    assert (reduced.gather(-1, perm[..., None]).abs() <= 1e-13 * scale).all()
    return cost.gather(-1, perm[..., None]).sum((-1, -2))


def optimum(cost) -> float:
    i, j = linear_sum_assignment(cost.masked_fill(cost.isinf(), 1e4).numpy())
    return float(cost[i, j].sum())


@pytest.mark.parametrize("kind", ["random", "integer", "constant", "planar", "forbidden"])
@pytest.mark.parametrize("n", [1, 2, 8, 17, 63])
def test_optimal(twin, kind, n):
    cost = draw(kind, 2, n, n)
    values = certify(cost, assignment(cost))
    for matrix, value in zip(cost, values, strict=True):
        assert float(value) == pytest.approx(optimum(matrix), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", ["random", "integer", "planar", "forbidden"])
def test_larger_problems_where_paths_grow_long(kind):
    cost = draw(kind, 400, 400)
    assert float(certify(cost, assignment(cost))) == pytest.approx(optimum(cost), rel=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_enumeration(data):
    n = data.draw(st.integers(1, 6))
    rows = st.lists(st.sampled_from([-2, -1, 0, 0, 1, 5]), min_size=n, max_size=n)
    cost = torch.tensor(data.draw(st.lists(rows, min_size=n, max_size=n))).double()
    best = min(sum(float(cost[k, s]) for k, s in enumerate(sigma)) for sigma in itertools.permutations(range(n)))
    assert float(certify(cost, assignment(cost))) == best


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1e8, 1e300])
def test_scales(twin, scale):
    cost = draw("planar", 30, 30)
    expected = assignment(cost).perm
    matching = assignment(cost * scale)
    assert torch.equal(matching.perm, expected)
    certify(cost * scale, matching)


def test_batches(twin):
    cost = draw("random", 2, 3, 10, 10)
    perm, f, g = assignment(cost)
    assert perm.shape == f.shape == g.shape == (2, 3, 10)
    for k in range(2):
        for l in range(3):
            assert torch.equal(perm[k, l], assignment(cost[k, l]).perm)
    assert assignment(cost[:, :0]).perm.shape == (2, 0, 10)
    assert assignment(cost[..., :0, :0]).perm.shape == (2, 3, 0)


def test_many_problems_in_parallel():
    cost = draw("planar", 200, 12, 12)
    values = certify(cost, assignment(cost))
    expected = torch.tensor([optimum(matrix) for matrix in cost], dtype=torch.float64)
    assert torch.allclose(values, expected, rtol=1e-12)


def test_dtypes():
    cost = draw("random", 20, 20)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        rounded = cost.to(dtype)
        matching = assignment(rounded.requires_grad_())
        assert matching.f.dtype == torch.float64
        assert float(certify(rounded.detach().double(), matching)) == pytest.approx(optimum(rounded.detach().double()))


def test_infeasible(twin):
    cost = draw("random", 3, 6, 6)
    cost[1, :4, 3:] = math.inf
    cost[2] = math.inf
    with pytest.raises(InfeasibleError, match="problem 1"):
        assignment(cost)
    with pytest.raises(InfeasibleError, match="every permutation uses"):
        assignment(cost[2])
    column = draw("random", 6, 6)
    column[:, 2] = math.inf
    with pytest.raises(InfeasibleError):
        assignment(column)


def test_bad_arguments():
    with pytest.raises(ShapeError, match="square"):
        assignment(torch.zeros(3, 4))
    with pytest.raises(DtypeError, match="floating-point"):
        assignment(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(InputError, match="NaN or -inf"):
        assignment(torch.full((3, 3), -math.inf))
