"""GeomLoss's loss through Monge: values and gradients beside those of GeomLoss, and a certified value beside both."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import monge
from peers import _geomloss as ours


def instance(*batch: int, n: int = 12, m: int = 9, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(n + 10 * m)
    x, y = (torch.randn(*batch, k, 3, generator=generator, dtype=dtype) for k in (n, m))
    a, b = (torch.rand(*batch, k, generator=generator, dtype=dtype) + 0.1 for k in (n, m))
    return a / a.sum(-1, keepdim=True), x, b / b.sum(-1, keepdim=True), y + 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("debias", [True, False])
@pytest.mark.parametrize("reach", [None, 1.0])
@pytest.mark.parametrize("p", [1, 2])
def test_samples_loss(p: int, reach: float | None, debias: bool, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    settings: dict[str, Any] = {"p": p, "blur": 0.3, "reach": reach, "debias": debias, "backend": "tensorized"}
    given = instance(*batch, dtype=dtype)
    found = ours.SamplesLoss("sinkhorn", **settings)(*given)
    assert found.shape == torch.Size(batch)
    if debias and reach is None:
        cost = {1: "euclidean", 2: "sqeuclidean"}[p]
        a, x, b, y = (part.double() for part in given)
        a, b = (side / side.sum(-1, keepdim=True) for side in (a, b))
        certified = monge.divergence(x, y, a, b, cost=cost, epsilon=p * 0.3**p, solver=monge.solver.Newton(tol=1e-10))
        assert torch.allclose(found.double(), certified / p, rtol=1e-3 if dtype == torch.float32 else 1e-6)
    peer = pytest.importorskip("geomloss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # GeomLoss makes a fixed number of steps and measures no error, so its accuracy is that of scaling.
        theirs = peer.SamplesLoss("sinkhorn", scaling=0.98, **settings)(*given)
    assert torch.allclose(found, theirs.to(found.dtype), rtol=2e-2)


def test_gradients() -> None:
    """Beside differences of certified values; that of GeomLoss has the error of its fixed number of steps."""
    a, x, b, y = instance()
    moved, step = x.clone().requires_grad_(), 1e-5
    (slope,) = torch.autograd.grad(ours.SamplesLoss("sinkhorn", blur=0.5)(a, moved, b, y), moved)
    for place in ((0, 0), (3, 1), (11, 2)):
        ends = []
        for sign in (1, -1):
            shifted = x.clone()
            shifted[place] += sign * step
            solver = monge.solver.Newton(tol=1e-11)
            ends.append(float(monge.divergence(shifted, y, a, b, epsilon=0.5, solver=solver)) / 2)
        assert abs(float(slope[place]) - (ends[0] - ends[1]) / (2 * step)) <= 1e-5
    peer = pytest.importorskip("geomloss")
    moved = x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = peer.SamplesLoss("sinkhorn", blur=0.5, scaling=0.98, backend="tensorized")(a, moved, b, y)
    (theirs,) = torch.autograd.grad(value, moved)
    assert float((theirs - slope).norm()) <= 0.2 * float(slope.norm())
