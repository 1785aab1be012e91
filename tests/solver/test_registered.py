"""Solvers from outside: the router sees them, and what refuses or abstains is in nobody's way."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch

import monge
from monge.errors import InputError
from monge.problem import Linear
from monge.solver import SOLVERS, Assignment, Auto, Capability, Simplex, Solver, candidates, value


@value
class Special(Simplex):
    """A stranger that treats less than Simplex and more than nothing."""

    treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "priced", "balanced"})
    cost: float = 1e30

    def _capability(self, case):
        return (
            Capability.no("Special is not in the mood.") if math.isnan(self.cost) else Capability(True, self.cost, "")
        )


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    for state in ("_held", "_sentences"):
        monkeypatch.setattr(SOLVERS, state, dict(getattr(SOLVERS, state)))


@pytest.fixture
def problem() -> Linear:
    return Linear.between(torch.rand(5, 2), torch.rand(4, 2))


def test_the_router_sees_what_is_registered(problem: Linear) -> None:
    before = Auto().resolve(problem)
    SOLVERS.register("special", Special)
    assert isinstance(before, Simplex)
    assert not isinstance(before, Special)
    assert isinstance(Auto().resolve(problem), Special)
    assert isinstance(Auto(strict=True).resolve(problem), Special)
    assert isinstance(monge.explain(problem).chosen, Special)
    assert "Special" in str(monge.explain(problem)).splitlines()[1]
    assert repr(Auto()) == "Auto()"
    assert isinstance(Auto(candidates=(Simplex(),)).resolve(problem), Simplex)


@pytest.mark.parametrize("cost", [math.inf, math.nan])
def test_what_abstains_or_refuses_is_in_nobodys_way(problem: Linear, cost: float) -> None:
    auto = Auto(candidates=(Special(cost=cost), *candidates()))
    assert type(auto.resolve(problem)) is Simplex
    assert type(auto.explain(problem).chosen) is Simplex


def test_explaining_agrees_with_resolving() -> None:
    """The table has one row more, of a solver that abstains, which is more special than many."""

    @value
    class Plain(Simplex):
        """Less special than what abstains in the table."""

        treats: ClassVar[frozenset[str]] = frozenset({"linear", "exact", "balanced"})

        def _capability(self, case):
            return Capability(True, 1.0, "cheap.")

    SOLVERS.register("plain", Plain)
    problem = Linear.between(torch.rand(5, 2), torch.rand(4, 2))
    assert isinstance(monge.explain(problem).chosen, Plain)
    assert isinstance(Auto().resolve(problem), Plain)


def test_candidates_are_made_once() -> None:
    assert candidates() is candidates()
    assert any(isinstance(solver, Assignment) for solver in candidates())


@value
class Demanding(Simplex):
    """A solver that needs to be told something."""

    depth: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.depth is None:
            raise TypeError("depth is missing")


class Unfinished(Solver):
    """A solver that solves nothing yet."""


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (int, "must be a class that derives from monge.solver.Solver"),
        (Simplex(), "must be a class that derives from monge.solver.Solver"),
        (Demanding, "needs a default for every setting, but depth is missing"),
    ],
)
def test_what_is_no_solver_is_refused(thing: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        SOLVERS.register("wrong", thing)
