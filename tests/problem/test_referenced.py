"""Entropy relative to a chosen measure, beside closed forms, the definition and POT."""

from __future__ import annotations

import math

import pytest
import torch

from monge import explain, solve
from monge.errors import DtypeError, InputError, ShapeError
from monge.geometry import CostMatrix
from monge.problem import Fixed, Linear, Referenced, Relaxed
from monge.solver import Sinkhorn

D = torch.float64


def sides(n=4, m=5):
    a, b = torch.rand(n, dtype=D) + 0.1, torch.rand(m, dtype=D) + 0.1
    return a / a.sum(), b / b.sum()


def definition(problem, P):
    """The objective, from its definition."""
    linear, R = problem.linear, problem.reference
    kl = torch.where(P > 0, P * (P / R).log(), 0.0) - P + R
    cost = torch.where(P > 0, P * linear.geometry.dense(), 0.0)
    prices = linear.source._penalty(P.sum(-1)) + linear.target._penalty(P.sum(-2))
    return cost.sum((-1, -2)) + linear.epsilon * kl.sum((-1, -2)) + prices


@pytest.mark.parametrize("relaxed", [False, True])
def test_value_is_the_objective(relaxed):
    a, b = sides()
    a[1] = 0
    a = a / a.sum()
    R = torch.rand(4, 5, dtype=D) + 0.1
    R[0, 2] = 0
    made = (Relaxed(a, 0.7), Relaxed(2 * b, 0.7)) if relaxed else (Fixed(a), Fixed(b))
    problem = Referenced(Linear(CostMatrix(torch.rand(4, 5, dtype=D)), *made, epsilon=0.3), R)
    solution = solve(problem, Sinkhorn(tol=1e-11))
    P = solution.coupling.dense()
    assert P[0, 2] == 0
    torch.testing.assert_close(solution.value, definition(problem, P), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(problem.primal(solution.coupling), solution.value, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(sum(solution.terms), solution.value, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(solution.terms.cost, (P * problem.linear.geometry.dense()).sum())
    torch.testing.assert_close(solution.coupling.transport_cost(), solution.terms.cost)
    assert problem.gap(solution.coupling, solution.f, solution.g) <= 1e-7
    other = P * torch.exp(0.1 * torch.randn(4, 5, dtype=D))
    if relaxed:
        assert definition(problem, other) > solution.value


def test_a_prior_with_the_right_marginals_stays():
    a, b = sides()
    R = a[:, None] * b
    R[0, 0] += 0.01
    R[1, 1] += 0.01
    R[0, 1] -= 0.01 * (R[0, 1] > 0.01)
    problem = Referenced(Linear(CostMatrix(torch.zeros(4, 5, dtype=D)), R.sum(1), R.sum(0), epsilon=0.5), R)
    solution = solve(problem)
    torch.testing.assert_close(solution.coupling.dense(), R, rtol=1e-7, atol=1e-10)
    assert solution.value.abs() < 1e-8


def test_one_pair_in_closed_form():
    cost, rho, eps, a, b, r = 0.8, 0.5, 0.2, 0.7, 1.9, 3.0
    made = [Relaxed(torch.tensor([w], dtype=D), rho) for w in (a, b)]
    linear = Linear(CostMatrix(torch.tensor([[cost]], dtype=D)), *made, epsilon=eps)
    P = solve(Referenced(linear, torch.tensor([[r]], dtype=D))).coupling
    log = (rho * math.log(a * b) + eps * math.log(r) - cost) / (2 * rho + eps)
    assert P.mass.item() == pytest.approx(math.exp(log), rel=1e-8)


def test_the_product_of_the_weights_changes_nothing():
    a, b = sides()
    linear = Linear(CostMatrix(torch.rand(4, 5, dtype=D)), Relaxed(a, 0.4), Relaxed(b, 0.4), epsilon=0.2)
    one, other = solve(Referenced(linear, a[:, None] * b)), solve(linear)
    torch.testing.assert_close(one.value, other.value)
    torch.testing.assert_close(one.coupling.dense(), other.coupling.dense())


def test_as_pot():
    ot = pytest.importorskip("ot")
    a, b = sides()
    cost, R = torch.rand(4, 5, dtype=D), torch.rand(4, 5, dtype=D) + 0.1
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        a.numpy(), b.numpy(), cost.numpy(), 0.3, 0.7, c=R.numpy(), numItermax=10_000, stopThr=1e-13
    )
    linear = Linear(CostMatrix(cost), Relaxed(a, 0.7), Relaxed(b, 0.7), epsilon=0.3)
    ours = solve(Referenced(linear, R)).coupling.dense()
    torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=1e-6, atol=1e-9)


def test_derivatives():
    a, b = sides()

    def value(cost, R):
        linear = Linear(CostMatrix(cost), Relaxed(a, 0.7), Relaxed(b, 0.7), epsilon=0.3)
        return solve(Referenced(linear, R), Sinkhorn(tol=1e-12)).value

    inputs = torch.rand(4, 5, dtype=D), torch.rand(4, 5, dtype=D) + 0.1
    torch.autograd.gradcheck(value, [t.requires_grad_() for t in inputs], atol=1e-5)


def test_batches_and_explain():
    a, b = sides()
    problem = Referenced(
        Linear(CostMatrix(torch.rand(4, 5, dtype=D)), a, b, epsilon=0.3), torch.rand(3, 4, 5, dtype=D) + 0.1
    )
    values = solve(problem).value
    assert values.shape == problem.batch_shape == (3,)
    torch.testing.assert_close(solve(problem._select((1,))).value, values[1])
    assert explain(problem).chosen is not None


def test_what_is_refused():
    linear = Linear(CostMatrix(torch.rand(4, 5, dtype=D)), epsilon=0.3)
    with pytest.raises(ShapeError, match="one number per pair"):
        Referenced(linear, torch.ones(5, 4, dtype=D))
    with pytest.raises(InputError, match="not negative"):
        Referenced(linear, -torch.ones(4, 5, dtype=D))
    with pytest.raises(DtypeError, match="reference"):
        Referenced(linear, torch.ones(4, 5, dtype=torch.float32))
    with pytest.raises(InputError, match="a positive epsilon"):
        Referenced(linear._replace(epsilon=torch.zeros((), dtype=D)), torch.ones(4, 5, dtype=D))
