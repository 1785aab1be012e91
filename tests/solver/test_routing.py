"""How a problem finds its solver, and how settings reach it."""

from __future__ import annotations

import pytest
import torch

import monge
from monge.errors import CapabilityError, InputError, NotConvergedError
from monge.gradient import Envelope
from monge.problem import TRAITS, AtMost, Linear, Relaxed
from monge.solver import Assignment, Auto, Capability, Newton, Simplex, Sinkhorn, Solver, Sorted, Symmetric

X, Y = torch.randn(2, 12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def test_the_most_special_solver_wins_without_being_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for kind in (Sorted, Assignment, Simplex, Sinkhorn, Newton):
        before = kind._capability

        def counted(self: Solver, case: object, before: object = before) -> Capability:
            asked.append(type(self).__name__)
            return before(self, case)  # type: ignore[operator]

        monkeypatch.setattr(kind, "_capability", counted)
    monge.couple(X, Y)
    assert asked == ["Assignment"]
    asked.clear()
    monge.couple(X, Y[:7])
    assert asked == ["Simplex"]
    asked.clear()
    monge.couple(X, Y, epsilon=0.1)
    assert sorted(asked) == ["Newton", "Sinkhorn"]


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("sides", ["fixed", "mass", "rho"])
def test_what_is_resolved_is_what_is_explained(epsilon: float, sides: str) -> None:
    options = {"fixed": {}, "mass": {"mass": 0.5}, "rho": {"rho": 1.0, "penalty": "tv"}}[sides]
    problem = Linear.between(X, Y, epsilon=epsilon, **options)
    assert Auto().resolve(problem) is Auto().explain(problem).chosen
    assert problem.traits <= TRAITS.keys()


def test_settings_reach_the_solver_that_is_chosen() -> None:
    problem = Linear.between(X, Y, epsilon=0.1)
    chosen = Auto(tol=1e-3, max_iter=77, gradient=Envelope()).resolve(problem)
    assert (chosen.tol, chosen.max_iter) == (1e-3, 77)  # type: ignore[attr-defined]
    assert isinstance(chosen.gradient, Envelope)  # type: ignore[attr-defined]
    with pytest.raises(NotConvergedError):
        monge.solve(problem, Auto(max_iter=1, strict=True))
    # Exact solvers have no gradient to choose.
    with pytest.raises(CapabilityError):
        monge.solve(Linear.between(X, Y), Auto(gradient=Envelope()))
    assert monge.solve(Linear.between(X, Y), Auto(tol=1e-3, strict=True)).report.status.ok


def test_a_prepared_solver_needs_fewer_iterations() -> None:
    first, second = (Linear.between(X, Y + shift, epsilon=0.05) for shift in (0.0, 0.01))
    for solver in (Sinkhorn(), Newton()):
        fresh, warm = monge.solve(second, solver), monge.solve(second, solver.prepare(first))
        assert int(warm.report.iterations) < int(fresh.report.iterations)
        torch.testing.assert_close(warm.value, fresh.value, rtol=1e-6, atol=1e-8)
    with pytest.raises(CapabilityError):
        Sinkhorn().prepare(Linear.between(X, Y))


def test_symmetric_solves_a_measure_against_itself_and_says_when_it_does_not() -> None:
    own = Linear.between(X, X, epsilon=0.3)
    found, known = monge.solve(own, Symmetric()), monge.solve(own, Sinkhorn(tol=1e-10))
    torch.testing.assert_close(found.value, known.value, rtol=1e-8, atol=1e-10)
    with pytest.raises(InputError, match="its own transpose"):
        monge.solve(Linear.between(X, Y, epsilon=0.3), Symmetric())


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("penalty", ["kl", "l2", "tv"])
def test_terms_add_up_to_the_objective(epsilon: float, penalty: str) -> None:
    a, b = torch.rand(2, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).unbind()
    if penalty == "tv" or epsilon:
        problem = Linear(
            monge.geometry.PointCloud(X, Y), Relaxed(a, 1.5, penalty), Relaxed(b, 2.0, penalty), epsilon=epsilon
        )
        solution = monge.solve(problem)
        terms = solution.terms
        assert (terms.entropy == 0) == (epsilon == 0)
        torch.testing.assert_close(sum(terms), problem.primal(solution.coupling))
        torch.testing.assert_close(sum(terms), solution.value, rtol=1e-5, atol=1e-7)
    moved = monge.solve(Linear(monge.geometry.PointCloud(X, Y), AtMost(a), AtMost(b), epsilon=epsilon, mass=2.0)).terms
    assert float(moved.source) == float(moved.target) == 0


def test_terms_of_half_precision_are_told_too() -> None:
    terms = monge.solve(Linear.between(X.half(), Y.half(), epsilon=0.5)).terms
    assert all(bool(part.isfinite()) for part in terms)
