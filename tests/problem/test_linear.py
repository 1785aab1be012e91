"""The problem itself: what it accepts, and its primal and dual formulas."""

from __future__ import annotations

import math

import pytest
import torch

from monge.coupling import DenseCoupling
from monge.errors import DtypeError, InfeasibleError, InputError, ShapeError
from monge.geometry import CostMatrix, PointCloud
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed, relative

D = torch.float64


def weights(*shape):
    a = torch.rand(*shape, dtype=D) + 0.1
    return a / a.sum(-1, keepdim=True)


@pytest.fixture
def cost():
    return CostMatrix(torch.rand(5, 4, dtype=D))


SIDES = [
    lambda a, b: (Fixed(a), Fixed(b), None),
    lambda a, b: (Relaxed(a, 0.5), Relaxed(2 * b, 0.5), None),
    lambda a, b: (Relaxed(a, 0.5, "l2"), Relaxed(2 * b, 2.0, "tv"), None),
    lambda a, b: (Fixed(a), Free(b), None),
    lambda a, b: (AtMost(a), Fixed(0.5 * b), None),
    lambda a, b: (AtMost(a), AtMost(b), 0.4),
]


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_dual_of_any_potentials_is_below_primal_of_any_feasible_plan(cost, sides, epsilon):
    a, b = weights(5), weights(4)
    source, target, mass = sides(a, b)
    problem = Linear(cost, source, target, epsilon=epsilon, mass=mass)
    total = 0.4 if mass else 0.5 if isinstance(source, AtMost) else 1.0
    columns = weights(4) if isinstance(target, (Free, Relaxed)) else b
    P = DenseCoupling(total * a[:, None] * columns[None, :])
    primal = problem.primal(P)
    assert primal.isfinite()
    for scale in (0.1, 1.0, 10.0):
        for _ in range(20):
            f, g = torch.randn(5, dtype=D) * scale, torch.randn(4, dtype=D) * scale
            assert problem.dual(f, g) <= primal + 1e-12


def test_primal_is_infinite_where_a_constraint_breaks(cost):
    a, b = weights(5), weights(4)
    P = DenseCoupling(a[:, None] * b[None, :])
    assert Linear(cost, a, weights(4)).primal(P) == math.inf
    assert Linear(cost, AtMost(0.5 * a), AtMost(b)).primal(P) == math.inf
    assert Linear(cost, AtMost(a), AtMost(b), mass=0.5).primal(P) == math.inf
    assert Linear(cost, a, b).primal(P) == pytest.approx(float((P.dense() * cost.cost).sum()))


def test_primal_and_dual_by_hand():
    """One point on each side: everything is a number."""
    one = torch.ones(1, dtype=D)
    problem = Linear(CostMatrix(torch.tensor([[2.0]], dtype=D)), Relaxed(one, 0.5), Relaxed(one, 0.5), epsilon=0.1)
    p = 0.3
    entropy = p * math.log(p) - p + 1
    assert float(problem.primal(DenseCoupling(torch.tensor([[p]], dtype=D)))) == pytest.approx(2 * p + 1.1 * entropy)
    f = torch.tensor([0.2], dtype=D)
    expected = 2 * 0.5 * (1 - math.exp(-0.4)) - 0.1 * (math.exp((0.4 - 2) / 0.1) - 1)
    assert float(problem.dual(f, f)) == pytest.approx(expected)


def test_relative_epsilon_is_resolved_for_each_problem():
    cost = torch.rand(3, 5, 4, dtype=D)
    cost[1] *= 100
    problem = Linear(CostMatrix(cost), epsilon=relative(0.05))
    torch.testing.assert_close(problem.epsilon, 0.05 * cost.mean((-1, -2)))
    same = Linear(PointCloud(torch.zeros(3, 2), torch.zeros(3, 2)), epsilon=relative(0.05))
    assert float(same.epsilon) > 0


def test_masses_equal_up_to_rounding_are_made_equal(cost):
    a, b = weights(5), weights(4)
    problem = Linear(cost, a, b * (1 + 1e-11))
    assert float(problem.b.sum() - problem.a.sum()) == pytest.approx(0.0, abs=1e-15)


def test_transpose_twice_is_the_problem(cost):
    problem = Linear(cost, Relaxed(weights(5), 1.0), weights(4), epsilon=0.1)
    assert problem.T.shape == (4, 5)
    assert problem.T.T.source is problem.source


def test_select_picks_problems_of_a_batch():
    cost = torch.rand(3, 5, 4, dtype=D)
    problem = Linear(CostMatrix(cost), Relaxed(weights(3, 5), torch.tensor([1.0, 2.0, 3.0], dtype=D)), epsilon=0.1)
    chosen = problem._select((torch.tensor([2, 0]),))
    torch.testing.assert_close(chosen.geometry.dense(), cost[[2, 0]])
    torch.testing.assert_close(chosen.source.rho, torch.tensor([3.0, 1.0], dtype=D))
    assert chosen.batch_shape == (2,)


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda c: Linear(c, weights(4)), ShapeError, "source must have one weight for each of the 5 points"),
        (lambda c: Linear(c, weights(5), 2 * weights(4)), InfeasibleError, "same mass when both are fixed"),
        (
            lambda c: Linear(c, AtMost(weights(5)), AtMost(weights(4)), mass=1.5),
            InfeasibleError,
            "mass must be positive",
        ),
        (lambda c: Linear(c, Relaxed(weights(5), 1.0), weights(4), mass=0.5), InputError, "source is\\s+Relaxed"),
        (lambda c: Linear(c, AtMost(weights(5)), weights(4), mass=0.5), InfeasibleError, "use\\s+AtMost for target"),
        (lambda c: Linear(c, weights(5).float()), DtypeError, "dtype"),
        (lambda c: Linear(c, epsilon=-1.0), InputError, "epsilon must lie in"),
        (
            lambda c: Linear(c, epsilon=torch.tensor([0.0, 1.0], dtype=D)),
            InputError,
            "solve the exact problems in a batch of their own",
        ),
        (
            lambda c: Linear(c, weights(2, 5), weights(3, 4)),
            ShapeError,
            "batch dimensions of cost, source and target must broadcast",
        ),
        (lambda c: relative(0.0), InputError, "fraction"),
    ],
)
def test_messages(cost, build, error, match):
    with pytest.raises(error, match=match):
        build(cost)


def test_gap_needs_potentials(cost):
    problem = Linear(cost)
    P = DenseCoupling(problem.a[:, None] * problem.b[None, :])
    with pytest.raises(InputError, match="DualSolution"):
        problem.gap(P)
    f, g = torch.zeros(5, dtype=D), torch.zeros(4, dtype=D)
    assert float(problem.gap(P, f, g)) == pytest.approx(float(problem.primal(P) - problem.dual(f, g)))
