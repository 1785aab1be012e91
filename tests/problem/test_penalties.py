"""Penalties from outside, in exact and entropic problems; and what is no penalty."""

from __future__ import annotations

import pytest
import torch

from lopsided import Lopsided
from monge.errors import InputError
from monge.problem import PENALTIES, Linear, Penalty, Relaxed
from monge.solver import Assignment, Simplex, Sinkhorn, Sorted, Status, solve


@pytest.fixture(autouse=True)
def lopsided(monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("_held", "_sentences"):
        monkeypatch.setattr(PENALTIES, state, dict(getattr(PENALTIES, state)))
    PENALTIES.register("lopsided", Lopsided)


def problem(epsilon: float = 0.0, rho: float = 0.6) -> Linear:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(n, 1, generator=generator, dtype=torch.float64) for n in (6, 5))
    a, b = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (6, 5))
    return Linear.between(2 * x, 2 * y, a, b, rho=rho, penalty="lopsided", epsilon=epsilon)


@pytest.mark.parametrize("rho", [0.05, 0.6, 5.0])
def test_exact_solvers_ask_for_the_rates(rho: float) -> None:
    """The gap is that of the formulas, so that a plan at other rates could not be proved."""
    exact = problem(rho=rho)
    solution = solve(exact, Simplex())
    assert solution.report.status is Status.OPTIMAL
    torch.testing.assert_close(solution.value, exact.primal(solution.coupling))
    # Sorting knows one price of all that stays only.
    assert not Sorted().supports(exact).supported
    assert not Assignment().supports(exact).supported


def test_entropic_solvers_translate_between_its_kinks() -> None:
    solution = solve(problem(epsilon=0.05), Sinkhorn())
    assert solution.report.status is Status.CONVERGED
    assert float(solution.report.duality_gap) < 1e-6


def test_its_name_is_known_where_ours_are() -> None:
    x = torch.rand(3, 1)
    with pytest.raises(InputError, match="pass rho too, or leave it out"):
        Linear.between(x, x, penalty="lopsided")
    with pytest.raises(InputError, match="penalty='lopsidded' is unknown: choose one of 'kl', 'l2', 'tv', 'lopsided'"):
        Relaxed(torch.ones(3), 1.0, "lopsidded")
    assert Relaxed(torch.ones(3), 1.0, "lopsided").linear
    assert not Relaxed(torch.ones(3), 1.0, "l2").linear


class Halfway(Penalty):
    """Some formulas are missing."""

    def price(self, mu):
        return mu

    def conjugate(self, f):
        return f


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (Halfway, "Halfway lacks curvature and mass_at and maximiser: write all that monge.problem.Penalty asks for"),
        (float, "must be a class that derives from monge.problem.Penalty, but is <class 'float'>"),
        (abs, "must be a class that derives from monge.problem.Penalty"),
    ],
)
def test_what_is_no_penalty_is_refused(thing: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        PENALTIES.register("wrong", thing)
