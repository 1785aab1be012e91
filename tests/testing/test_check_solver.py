"""The suite of solvers passes every solver of the library, and sees every way in which one can be wrong."""

from __future__ import annotations

import pytest
import torch

from monge._value import value
from monge.coupling import DenseCoupling, ProductCoupling
from monge.geometry import CostMatrix
from monge.problem import Linear
from monge.sliced import Sliced
from monge.solver import Assignment, Auto, Capability, Newton, Simplex, Sinkhorn, Sorted, Status, Symmetric
from monge.testing import check_solver, transport_problems

PROBLEMS = transport_problems()


@pytest.mark.parametrize(
    "solver", [Sorted(), Assignment(), Simplex(), Sinkhorn(), Newton(), Auto(), Sliced()], ids=repr
)
def test_every_solver_passes(solver):
    check_solver(solver)


def test_single_precision():
    few = {name: transport_problems(dtype=torch.float32)[name] for name in ("exact", "entropic, batch")}
    check_solver(Auto(), few, tol=1e-3)


def test_a_solver_of_few_problems():
    x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_solver(Symmetric(), {"a cloud against itself": Linear.between(x, x, epsilon=0.2)})
    with pytest.raises(AssertionError, match="exact: the solver does not support it"):
        check_solver(Sinkhorn(), {"exact": PROBLEMS["exact"]})
    with pytest.raises(AssertionError, match="supports none of the problems"):
        check_solver(Sorted(), {})


@value
class Turned(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(coupling=solution.coupling.T)


@value
class InSinglePrecision(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(coupling=solution.coupling.to(torch.float32))


@value
class SaysConverged(Sinkhorn):
    max_iter: int = 1

    def _solve(self, problem):
        solution = super()._solve(problem)
        none = torch.zeros_like(solution.report.marginal_error)
        return solution._replace(report=solution.report._replace(marginal_error=none, status=Status.CONVERGED))


@value
class AnotherEpsilon(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem._replace(epsilon=2 * problem.epsilon))
        value = torch.stack(tuple(problem.terms(solution.coupling))).sum(0)
        return solution._replace(problem=problem, value=value)


@value
class AnotherValue(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(value=1.1 * solution.value)


@value
class ValueWithoutGradient(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(value=solution.value.detach())


@value
class HalfTheGradient(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(value=solution.value / 2 + solution.value.detach() / 2)


@value
class ProblemsMixed(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        if not problem.batch_shape:
            return solution
        return solution._replace(coupling=DenseCoupling(solution.coupling.dense().flip(0)))


@value
class MassOnAbsentPoints(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(coupling=DenseCoupling(solution.coupling.dense() + 1e-12))


@value
class NeverTheSame(Sinkhorn):
    def _solve(self, problem):
        solution = super()._solve(problem)
        P = solution.coupling.dense()
        return solution._replace(coupling=DenseCoupling(P * (1 + 1e-9 * torch.rand_like(P))))


@value
class SaysOptimal(Simplex):
    def _solve(self, problem):
        solution = super()._solve(problem)
        plan = ProductCoupling(problem.a, problem.b)
        return solution._replace(coupling=plan, value=plan.transport_cost(problem.geometry))


@value
class BelowTheOptimum(Simplex):
    def _solve(self, problem):
        solution = super()._solve(problem)
        return solution._replace(value=solution.value - 0.1)


@value
class RefusesWithoutAWord(Sinkhorn):
    def _capability(self, case):
        return Capability.no("") if case.problem.batch_shape else super()._capability(case)


@value
class RefusesAndSolves(Sinkhorn):
    def _capability(self, case):
        return Capability.no("It is a batch.") if case.problem.batch_shape else super()._capability(case)

    def resolve(self, problem):
        return self


BROKEN = {
    Turned: ("entropic", r"entropic: the plan has shape \(4, 5\), but the problem \(5, 4\)"),
    InSinglePrecision: ("entropic", "the plan is in torch.float32, but the problem in torch.float64"),
    SaysConverged: ("entropic", r"the report tells a marginal error of 0.0, but that of the plan is 0\.[0-9]"),
    AnotherEpsilon: ("entropic", r"is no sum of two potentials"),
    AnotherValue: ("entropic", "the value is .*, but the objective of the plan"),
    ValueWithoutGradient: ("entropic", "the value must be differentiable by the cost"),
    HalfTheGradient: ("entropic", "the gradient of the value by the cost is not that of <P, C>"),
    ProblemsMixed: ("entropic, batch", "entropic, batch: the report tells a marginal error"),
    MassOnAbsentPoints: ("entropic, absent points", "a point of no weight must have no mass in the plan"),
    NeverTheSame: ("entropic", "the plan must be the same every time"),
    SaysOptimal: ("exact", "is above the optimum .*, but the status is OPTIMAL"),
    BelowTheOptimum: ("exact", "the value is .*, but the objective of the plan"),
    RefusesWithoutAWord: (None, r"supports\(\) must refuse with a reason"),
    RefusesAndSolves: (None, r"resolve\(\) must raise CapabilityError"),
}


@pytest.mark.parametrize("cls", BROKEN)
def test_the_suite_fails_and_says_why(cls):
    name, told = BROKEN[cls]
    problems = None if name is None else {name: PROBLEMS[name]}
    with pytest.raises(AssertionError, match=told):
        check_solver(cls(), problems)


def test_a_forbidden_pair_must_stay_empty():
    @value
    class Filled(Sinkhorn):
        def _solve(self, problem):
            finite = problem.geometry.dense().nan_to_num(posinf=1.0)
            return super()._solve(problem._replace(geometry=CostMatrix(finite)))

    name = "entropic, forbidden pairs"
    with pytest.raises(AssertionError, match="no mass may move over a forbidden pair"):
        check_solver(Filled(), {name: PROBLEMS[name]})
