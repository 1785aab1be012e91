"""Partial problems on a line by sorting, against the network simplex: values, plans, potentials, gradients."""

import pytest
import torch

from monge.geometry import Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Auto, Simplex, Sorted, Status, solve


def sides(n=9, m=7, batch=(), seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.rand(*batch, k, generator=g).double() for k in (n, m, n, m)]


def problems(x, y, a, b, p):
    mass = 0.4 * torch.minimum(a.sum(-1), b.sum(-1))
    for geometry in (Line(x, y, p), PointCloud(x[..., None], y[..., None], cost="cityblock", power=p)):
        yield Linear(geometry, AtMost(a), AtMost(b), mass=mass)
        yield Linear(geometry, Relaxed(a, 0.05, "tv"), Relaxed(b, 0.05, "tv"))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_sorting_agrees_with_the_simplex(p, batch):
    x, y, a, b = sides(batch=batch)
    a[..., 0] = 0
    for problem in problems(x, y, a, b, p):
        assert isinstance(Auto().explain(problem).chosen, Sorted)
        fast, slow = solve(problem, Sorted()), solve(problem, Simplex())
        torch.testing.assert_close(fast.value, slow.value, rtol=1e-9, atol=1e-12)
        assert fast.report.status is Status.OPTIMAL
        assert fast.report.duality_gap.max() < 1e-9
        torch.testing.assert_close(problem.dual(fast.f, fast.g), fast.value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(problem.primal(fast.coupling), fast.value, rtol=1e-9, atol=1e-9)


def test_values_are_differentiable():
    x, y, a, b = (side.requires_grad_() for side in sides(5, 4))
    for k in range(2):

        def value(x, y, a, b, k=k):
            given = Linear(Line(x, y), AtMost(a), AtMost(b), mass=1.1)
            return solve(given if k else Linear(Line(x, y), Relaxed(a, 0.02, "tv"), Relaxed(b, 0.02, "tv"))).value

        assert torch.autograd.gradcheck(value, (x, y, a, b), eps=1e-7, atol=1e-6)


def test_other_problems_are_left_to_others():
    x, y, a, b = sides()
    # Overfilling the cheap side pays for what the dear one lacks.
    uneven = Linear(Line(x, y), Relaxed(a, 0.01, "tv"), Relaxed(b, 0.2, "tv"))
    assert not Sorted().supports(uneven).supported
    geometry = PointCloud(x[:, None], y[:, None], cost="dot")
    assert not Sorted().supports(Linear(geometry, AtMost(a), AtMost(b), mass=0.5)).supported
