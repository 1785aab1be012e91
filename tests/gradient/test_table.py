"""Every cell of the table of gradients, against finite differences in float64."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from monge.geometry import CostMatrix
from monge.gradient import INPUTS, OUTPUTS, TABLE, Detached, Envelope, Implicit, Unrolled
from monge.problem import AtMost, Fixed, Free, Linear, Relaxed
from monge.solver import Newton, Sinkhorn

D = torch.float64
CHECK = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-4, "fast_mode": True, "check_undefined_grad": False}
N, M = 5, 4
V = torch.randn(M, 2, dtype=D, generator=torch.Generator().manual_seed(3))

SIDES = {
    "balanced": lambda a, b, rho, mass: (Fixed(a), Fixed(b), None),
    "kl": lambda a, b, rho, mass: (Relaxed(a, rho), Relaxed(1.5 * b, rho), None),
    "kl-fixed": lambda a, b, rho, mass: (Relaxed(a, rho), Fixed(1.5 * b), None),
    "l2": lambda a, b, rho, mass: (Relaxed(a, rho, "l2"), Relaxed(1.5 * b, rho, "l2"), None),
    "tv": lambda a, b, rho, mass: (Relaxed(a, rho, "tv"), Relaxed(1.5 * b, rho, "tv"), None),
    "semi-relaxed": lambda a, b, rho, mass: (Fixed(a), Free(b), None),
    "one-sided": lambda a, b, rho, mass: (AtMost(0.8 * a), Fixed(0.5 * b), None),
    "partial": lambda a, b, rho, mass: (AtMost(a), AtMost(1.2 * b), mass),
}

ANSWERS = {
    "value": lambda solution: solution.value,
    "f": lambda solution: solution.f,
    "g": lambda solution: solution.g,
    "P @ v": lambda solution: solution.coupling @ V,
    "barycentric": lambda solution: solution.coupling.barycentric(V),
    "transport_cost": lambda solution: solution.coupling.transport_cost(),
    "marginals": lambda solution: torch.cat(solution.coupling.marginals(), -1),
}


def leaves(**given):
    """One tensor for each input of the table: cost is a matrix that is added to that of the points."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, dtype=D, generator=generator)

    made = {
        "x": normal(N, 2),
        "y": normal(M, 2),
        "cost": 0.3 * normal(N, M),
        "a": 0.5 * normal(N),
        "b": 0.5 * normal(M),
        "epsilon": torch.tensor(0.4, dtype=D),
        "rho": torch.tensor(1.3, dtype=D),
        "mass": torch.tensor(0.6, dtype=D),
    }
    assert tuple(made) == INPUTS
    return [(made | given)[name].requires_grad_() for name in INPUTS]


def solution(sides, solver, x, y, cost, a, b, epsilon, rho, mass):
    """Weights are given by their logarithms, so that finite differences keep the masses equal."""
    source, target, mass = SIDES[sides](a.softmax(-1), b.softmax(-1), rho, mass)
    # The second derivative of a plain matrix is cheap: the squared distances are written out.
    geometry = CostMatrix((x[:, None] - y[None, :]).square().sum(-1) + cost)
    return solver._solve(Linear(geometry, source, target, epsilon=epsilon, mass=mass))


def answers(sides, solver):
    def every(*given):
        solved = solution(sides, solver, *given)
        return tuple(ask(solved) for ask in ANSWERS.values())

    return every


def test_the_table_is_complete():
    assert set(ANSWERS) == set(OUTPUTS[:-1])
    assert len(TABLE) == 4 * len(OUTPUTS) * len(INPUTS)


@pytest.mark.parametrize("sides", SIDES)
def test_implicit(sides):
    solver = Sinkhorn(tol=1e-13)
    assert all(TABLE["Implicit", output, given] in ("envelope", "implicit") for output in OUTPUTS for given in INPUTS)
    assert gradcheck(answers(sides, solver), leaves(), **CHECK)


@pytest.mark.parametrize("sides", SIDES)
def test_implicit_second_derivative_of_the_value(sides):
    solver = Sinkhorn(tol=1e-13)
    assert gradgradcheck(lambda *given: solution(sides, solver, *given).value, leaves(), **CHECK)


def test_newton_is_differentiated_alike():
    solver = Newton(tol=1e-13)
    for sides in ("balanced",):
        assert gradcheck(answers(sides, solver), leaves(), **CHECK)


@pytest.mark.parametrize("sides", ["balanced", "kl", "tv", "partial"])
def test_envelope(sides):
    given = leaves()
    solved = solution(sides, Sinkhorn(tol=1e-13, gradient=Envelope()), *given)
    exact = solution(sides, Sinkhorn(tol=1e-13, gradient=Implicit()), *given)
    mine = torch.autograd.grad(solved.value, given, materialize_grads=True)
    theirs = torch.autograd.grad(exact.value, given, materialize_grads=True)
    torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-8)
    for name, ask in ANSWERS.items():
        assert ask(solved).requires_grad == (TABLE["Envelope", name, "x"] != "none")


@pytest.mark.parametrize("sides", ["balanced", "kl", "tv", "partial"])
def test_unrolled(sides):
    """Exact for its own few iterations; and equal to the implicit gradient after many."""
    few = Sinkhorn(max_iter=3, gradient=Unrolled())
    assert gradcheck(answers(sides, few), leaves(), **CHECK)
    given = leaves()
    many, exact = Sinkhorn(max_iter=80, gradient=Unrolled()), Sinkhorn(tol=1e-13)
    weights = torch.randn(N, 2, dtype=D)
    grads = [
        torch.autograd.grad(
            (solution(sides, solver, *given).coupling.barycentric(V) * weights).sum(), given, materialize_grads=True
        )
        for solver in (many, exact)
    ]
    torch.testing.assert_close(grads[0], grads[1], atol=1e-7, rtol=1e-5)


def test_detached():
    solved = solution("balanced", Sinkhorn(gradient=Detached()), *leaves())
    for name, ask in ANSWERS.items():
        assert TABLE["Detached", name, "x"] == "none"
        assert not ask(solved).requires_grad
