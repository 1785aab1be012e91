"""Sinkhorn with costs and kernel kept, against the streamed iterations in the log domain."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monge.errors import InputError
from monge.geometry import CostMatrix, PointCloud
from monge.problem import Linear, relative
from monge.solver import Auto, Sinkhorn

D = torch.float64
N, M = 700, 800


def clouds(d: int, *batch: int, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(d)
    x = torch.randn(*batch, N, d, generator=generator, dtype=dtype)
    return x, 1.2 * torch.randn(*batch, M, d, generator=generator, dtype=dtype) + 0.2


def true_error(problem: Linear, solution) -> float:
    """The L1 error of both marginals, entry by entry in float64."""
    f, g, epsilon = solution.f.double(), solution.g.double(), problem.epsilon.double()
    plan = (
        problem.a.double()[:, None]
        * problem.b.double()
        * torch.exp((f[:, None] + g - problem.geometry.dense().double()) / epsilon)
    )
    return float((plan.sum(1) - problem.a).abs().sum() + (plan.sum(0) - problem.b).abs().sum())


@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("share", [0.3, 0.03])
def test_kept_is_streamed(d, share):
    problem = Linear(PointCloud(*clouds(d)), epsilon=relative(share))
    kept, streamed = (Sinkhorn(max_bytes=size)._solve(problem) for size in (2**29, 0))
    assert kept.report.status.ok
    assert streamed.report.status.ok
    assert true_error(problem, kept) <= 1.1e-6
    assert float(kept.value) == pytest.approx(float(streamed.value), rel=1e-9)


def test_the_plan_is_that_of_pot():
    x, y = clouds(4)
    problem = Linear(PointCloud(x, y), epsilon=2.0)
    found = Sinkhorn(tol=1e-10)._solve(problem).coupling.dense()
    a, b = np.full(N, 1 / N), np.full(M, 1 / M)
    expected = ot.sinkhorn(a, b, problem.geometry.dense().numpy(), 2.0, stopThr=1e-12, numItermax=5000)
    assert np.abs(found.numpy() - expected).sum() < 1e-8


def test_single_precision():
    problem = Linear(PointCloud(*clouds(12, dtype=torch.float32)), epsilon=relative(0.05))
    solution = Sinkhorn()._solve(problem)
    assert solution.report.status.ok
    assert solution.f.dtype is torch.float32
    assert true_error(problem, solution) <= 3e-4


def test_forbidden_pairs_and_absent_points():
    x, y = clouds(2)
    cost = torch.cdist(x, y) ** 2
    cost[:20, 50:] = torch.inf
    a, b = torch.rand(N, dtype=D), torch.rand(M, dtype=D)
    a[:20] *= 0.01
    a[30:40] = 0
    b[:50] += 1
    b[60:80] = 0
    problem = Linear(CostMatrix(cost), a / a.sum(), b / b.sum(), epsilon=0.5)
    kept, streamed = (Sinkhorn(tol=1e-9, max_bytes=size)._solve(problem) for size in (2**29, 0))
    assert kept.report.status.ok
    assert float(kept.value) == pytest.approx(float(streamed.value), rel=1e-9)
    assert torch.allclose(kept.f, streamed.f, atol=1e-6)
    assert torch.allclose(kept.g, streamed.g, atol=1e-6)
    assert true_error(problem, kept) <= 2e-9


def test_a_batch_is_a_loop():
    x, y = clouds(10, 2)
    whole = Sinkhorn()._solve(Linear(PointCloud(x, y), epsilon=relative(0.1)))
    for k in range(2):
        alone = Sinkhorn()._solve(Linear(PointCloud(x[k], y[k]), epsilon=relative(0.1)))
        assert torch.equal(alone.f, whole.f[k])
        assert torch.equal(alone.g, whole.g[k])
        assert alone.report.iterations == whole.report.iterations[k]


def test_scalings_that_leave_their_range():
    """A start far away moves scalings by far more than exp can hold, so that kernels are made anew."""
    x, y = clouds(3)
    problem = Linear(PointCloud(x, y), epsilon=relative(0.05))
    far = 30 * torch.randn(M, generator=torch.Generator().manual_seed(1), dtype=D)
    start = torch.zeros(N, dtype=D), far
    kept, streamed = (Sinkhorn(init=start, max_bytes=size)._solve(problem) for size in (2**29, 0))
    assert kept.report.status.ok
    assert float(kept.value) == pytest.approx(float(streamed.value), rel=1e-8)


@pytest.mark.parametrize("share", [1e-3, 1e-5])
def test_an_unmet_tolerance_is_said(share):
    problem = Linear(PointCloud(*clouds(3)), epsilon=relative(share))
    solution = Sinkhorn(max_iter=40)._solve(problem)
    true = true_error(problem, solution)
    assert not solution.report.status.ok
    assert float(solution.report.marginal_error) == pytest.approx(true, rel=1e-6)


class Largest(TorchDispatchMode):
    """The elements of the largest tensor that an operation gave."""

    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.seen = max(self.seen, tensor.numel())
        return out


def test_no_budget_streams():
    problem = Linear(PointCloud(*clouds(3)), epsilon=relative(0.3))
    with Largest() as streamed:
        Sinkhorn(max_bytes=0)._solve(problem)
    with Largest() as kept:
        Sinkhorn()._solve(problem)
    assert streamed.seen < N * M / 4
    assert kept.seen == N * M


def test_explain_names_the_budget():
    problem = Linear(PointCloud(*clouds(3)), epsilon=relative(0.3))
    assert "kept in 4.3 MiB of at most 512.0 MiB" in str(Auto().explain(problem))
    assert "streamed" in Sinkhorn(max_bytes=0).supports(problem).reason


def test_a_budget_is_not_negative():
    with pytest.raises(InputError, match="max_bytes"):
        Sinkhorn(max_bytes=-1)
