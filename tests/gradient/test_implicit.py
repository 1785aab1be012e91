"""The fixed-point function and its linear system: closed forms, paths that must agree, awkward inputs."""

from __future__ import annotations

import pytest
import torch

from monge.dual import _operators, hessian
from monge.geometry import CostMatrix, PointCloud
from monge.gradient import Envelope
from monge.problem import AtMost, Linear, Relaxed, relative
from monge.solver import Sinkhorn

D = torch.float64


def weights(*shape):
    a = torch.rand(*shape, dtype=D) + 0.05
    return a / a.sum(-1, keepdim=True)


def solved(problem, **settings):
    return Sinkhorn(**({"tol": 1e-12} | settings))._solve(problem)


def test_the_value_has_the_textbook_gradients():
    """dV/dC = P, dV/da = f, dV/db = g, dV/dx_i = 2 a_i (x_i - T(x_i)), dV/dmass = max f + max g."""
    cost, a, b = torch.rand(7, 5, dtype=D).requires_grad_(), weights(7).requires_grad_(), weights(5).requires_grad_()
    solution = solved(Linear(CostMatrix(cost), a, b, epsilon=0.1))
    plan, row, col = torch.autograd.grad(solution.value, (cost, a, b))
    torch.testing.assert_close(plan, solution.coupling.dense().detach())
    torch.testing.assert_close(row, solution.f.detach())
    torch.testing.assert_close(col, solution.g.detach())

    x, y = torch.randn(7, 3, dtype=D).requires_grad_(), torch.randn(5, 3, dtype=D)
    solution = solved(Linear(PointCloud(x, y), epsilon=0.3))
    (moved,) = torch.autograd.grad(solution.value, x)
    torch.testing.assert_close(moved, 2 / 7 * (x - solution.coupling.barycentric(y)).detach())

    mass = torch.tensor(0.4, dtype=D, requires_grad=True)
    partial = solved(Linear(CostMatrix(cost.detach()), AtMost(a.detach()), AtMost(b.detach()), epsilon=0.1, mass=mass))
    (slope,) = torch.autograd.grad(partial.value, mass)
    torch.testing.assert_close(slope, (partial.f.max() + partial.g.max()).detach())


def test_value_gradients_solve_no_system(monkeypatch):
    cost = torch.rand(7, 5, dtype=D).requires_grad_()

    def refuse(*args, **kwargs):
        raise AssertionError("a linear system was solved")

    monkeypatch.setattr(hessian.Hessian, "solve", refuse)
    solution = solved(Linear(CostMatrix(cost), epsilon=0.1))
    torch.autograd.grad(solution.value, cost, retain_graph=True)
    with pytest.raises(AssertionError, match="was solved"):
        torch.autograd.grad(solution.f.sum(), cost)


@pytest.mark.parametrize("shape", [(12, 7), (7, 12)])
@pytest.mark.parametrize("sides", ["balanced", "kl", "tv", "partial"])
def test_streamed_and_factorised_systems_agree(monkeypatch, shape, sides):
    n, m = shape
    a, b = weights(n), weights(m)
    source, target, mass = {
        "balanced": (a, b, None),
        "kl": (Relaxed(a, 0.5), Relaxed(2 * b, 0.5), None),
        "tv": (Relaxed(a, 0.3, "tv"), Relaxed(2 * b, 0.3, "tv"), None),
        "partial": (AtMost(a), AtMost(b), 0.6),
    }[sides]
    x, y = torch.randn(n, 2, dtype=D).requires_grad_(), torch.randn(m, 2, dtype=D).requires_grad_()
    v, w = torch.randn(m, 3, dtype=D), torch.randn(n, 3, dtype=D)

    def gradients():
        solution = solved(Linear(PointCloud(x, y), source, target, epsilon=relative(0.05), mass=mass))
        loss = ((solution.coupling @ v) * w).sum() + solution.f.square().mean()
        return torch.autograd.grad(loss, (x, y))

    factorised = gradients()
    monkeypatch.setattr(hessian, "DENSE_ENTRIES", 0)
    torch.testing.assert_close(gradients(), factorised, atol=1e-8, rtol=1e-6)


def test_gradients_of_a_batch_are_those_of_a_loop():
    x, y = torch.randn(3, 8, 2, dtype=D).requires_grad_(), torch.randn(6, 2, dtype=D).requires_grad_()
    epsilon = torch.tensor([0.1, 1.0, 0.3], dtype=D).requires_grad_()
    together = solved(Linear(PointCloud(x, y), epsilon=epsilon))
    grads = torch.autograd.grad((together.coupling.barycentric(y) ** 3).sum(), (x, y, epsilon))
    alone = [solved(Linear(PointCloud(x[k], y), epsilon=epsilon[k])) for k in range(3)]
    looped = torch.autograd.grad(sum((s.coupling.barycentric(y) ** 3).sum() for s in alone), (x, y, epsilon))
    torch.testing.assert_close(grads, looped, atol=1e-8, rtol=1e-6)


def test_hessian_of_the_value_is_symmetric_and_right():
    x0, y = torch.randn(6, 2, dtype=D), torch.randn(5, 2, dtype=D)

    def value(flat):
        return solved(Linear(PointCloud(flat.reshape(6, 2), y), epsilon=0.5)).value

    hessian = torch.autograd.functional.hessian(value, x0.reshape(-1))
    torch.testing.assert_close(hessian, hessian.T, atol=1e-8, rtol=1e-6)
    step = 1e-4 * torch.randn(12, dtype=D)

    def gradient(flat):
        flat = flat.clone().requires_grad_()
        return torch.autograd.grad(value(flat), flat)[0]

    change = (gradient(x0.reshape(-1) + step) - gradient(x0.reshape(-1) - step)) / 2
    torch.testing.assert_close(hessian @ step, change, atol=1e-9, rtol=1e-5)


def test_the_envelope_error_is_first_order_in_the_marginal_error():
    cost = torch.rand(20, 15, dtype=D).requires_grad_()
    problem = Linear(CostMatrix(cost), epsilon=0.02)
    (exact,) = torch.autograd.grad(solved(problem).value, cost)
    for tol in (1e-2, 1e-4, 1e-6):
        (grad,) = torch.autograd.grad(solved(problem, tol=tol, gradient=Envelope()).value, cost)
        assert float((grad - exact).abs().sum()) < 60 * tol


def test_zero_weights_and_coincident_points_have_finite_gradients():
    x = torch.randn(6, 2, dtype=D).requires_grad_()
    a = weights(6)
    a[[1, 4]] = 0.0
    a = (a / a.sum()).requires_grad_()
    solution = solved(Linear(PointCloud(x, x.detach().clone()), a, epsilon=0.3))
    loss = solution.value + (solution.coupling @ x).square().sum() + (solution.f**2).sum()
    grads = torch.autograd.grad(loss, (x, a))
    assert all(grad.isfinite().all() for grad in grads)


def test_potentials_of_absent_points_are_differentiated_too():
    x, y, a = torch.randn(5, 2, dtype=D), torch.randn(4, 2, dtype=D), torch.tensor([0.5, 0.0, 0.2, 0.3, 0.0], dtype=D)
    for source, target in ((a, None), (Relaxed(a, 0.7), None), (a[:4] / a[:4].sum(), None)):
        cloud = x if not isinstance(source, torch.Tensor) or len(source) == 5 else x[:4]

        def potentials(cloud, source=source, target=target):
            return solved(Linear(PointCloud(cloud, y), source, target, epsilon=0.3), tol=1e-13).f

        assert torch.autograd.gradcheck(
            potentials,
            cloud.clone().requires_grad_(),
            eps=1e-5,
            atol=1e-6,
            rtol=1e-4,
            fast_mode=True,
            check_undefined_grad=False,
        )


def test_sharp_problems_are_differentiated():
    """Where the plan is nearly a permutation the system is nearly singular."""
    x, y = torch.randn(20, 2, dtype=D).requires_grad_(), torch.randn(20, 2, dtype=D)
    solution = solved(Linear(PointCloud(x, y), epsilon=relative(1e-3)), tol=1e-9)
    (grad,) = torch.autograd.grad(solution.coupling.barycentric(y).square().sum(), x)
    assert grad.isfinite().all()


def test_plans_as_operators_agree():
    geometry = PointCloud(torch.randn(30, 2, dtype=D), torch.randn(20, 2, dtype=D))
    row, col, epsilon = torch.randn(30, dtype=D), torch.randn(20, dtype=D), torch.tensor(0.7, dtype=D)
    streamed = _operators.StreamedOperator(geometry, row, col, epsilon)
    plans = [streamed, streamed.dense(), _operators.SparseOperator.of(*streamed._extract(0.0), (30, 20))]
    f, g = torch.rand(30, dtype=D), torch.rand(20, dtype=D)
    for plan in plans[1:]:
        torch.testing.assert_close(plan.rows(g), streamed.rows(g))
        torch.testing.assert_close(plan.columns(f), streamed.columns(f))
        torch.testing.assert_close(plan.squared().columns(f), streamed.squared().columns(f))
    unknown = _operators.StreamedOperator(
        PointCloud(geometry.x, geometry.y, cost=lambda x, y: (x - y).square().sum(-1)), row, col, epsilon
    )
    for mine, theirs in zip(unknown._extract(1e-3), streamed._extract(1e-3), strict=True):
        torch.testing.assert_close(mine, theirs)
