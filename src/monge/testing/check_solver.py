"""The test suite of solvers, which checks the answers and the reports about them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from monge.errors import CapabilityError
from monge.problem import AtMost, Fixed, Linear, Problem
from monge.solver import Solution, Solver, Status, solve

from ._best_value import best_value
from ._question import Tolerance, compare, fresh, gradients
from .transport_problems import transport_problems

__all__ = ["check_solver"]

PROVED = (Status.OPTIMAL, Status.CONVERGED)


def check_solver(solver: Solver, problems: Mapping[str, Problem] | None = None, *, tol: float = 1e-4) -> None:
    """Solve problems, compare the answers with the right ones, and the reports with the answers.

    The plan must have the shape, the dtype and the device of the problem, be non-negative, give no mass to points of
    weight zero, and be the same every time. The reported marginal error must not be smaller than the true one. The
    value must be the objective of the plan, and optimal if the status says so; without entropy this is checked by a
    linear program, with entropy by the form of the plan. A batch must give the same as its problems one by one, the
    transposed problem must have the same value, and the gradient of the value must be the plan. A problem that the
    solver cannot treat must be refused with a message.

    Args:
        solver: The solver, with its settings.
        problems: Problems by name. By default they are `transport_problems`, of which it must treat at least one.
        tol: How far a converged answer may be from the truth, relative to the cost and the mass.

    Raises:
        AssertionError: If an answer or a report is wrong; the message names the problem.

    Example:
        >>> from monge.solver import Simplex
        >>> from monge.testing import check_solver
        >>> check_solver(Simplex())
    """
    known = transport_problems() if problems is None else problems
    treated = 0
    for name, problem in known.items():
        capability = solver.supports(problem)
        if capability.supported:
            treated += 1
            assert capability.cost >= 0, f"{name}: supports() must estimate a cost, inf if it is never to be chosen."
            _check_problem(name, solver, problem, tol)
            continue
        assert problems is None, f"{name}: the solver does not support it ({capability.reason})."
        _check_refusal(name, solver, problem)
    assert treated, "The solver supports none of the problems: pass some that it treats."


def _check_refusal(name: str, solver: Solver, problem: Problem) -> None:
    told = solver.supports(problem)
    assert told.cost == math.inf and told.reason.strip(), f"{name}: supports() must refuse with a reason."  # noqa: PT018
    try:
        solver.resolve(problem)
    except CapabilityError:
        return
    raise AssertionError(f"{name}: resolve() must raise CapabilityError for what supports() refuses.")


def _quietly(problem: Any, solver: Solver) -> Solution:
    """The solution; what is warned of is in the report too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return solve(problem, solver)


def _check_problem(name: str, solver: Solver, problem: Any, tol: float) -> None:
    solution = _quietly(problem, solver)
    P = solution.coupling.dense()
    _check_plan(name, problem, solution, P)
    again = _quietly(problem, solver).coupling.dense()
    assert torch.equal(P, again), f"{name}: the plan must be the same every time."
    _check_report(name, problem, solution)
    if isinstance(problem, Linear):
        _check_marginals(name, problem, solution, P)
        _check_value(name, problem, solution, P, tol)
        _check_gradient(name, solver, problem, solution, tol)
    if solution.report.status in PROVED:
        _check_others(name, solver, problem, solution, {"rtol": 10 * tol, "atol": 10 * tol})


def _check_plan(name: str, problem: Any, solution: Solution, P: Tensor) -> None:
    plan = solution.coupling
    assert P.shape == (*problem.batch_shape, *problem.shape), (
        f"{name}: the plan has shape {tuple(P.shape)}, but the problem {(*problem.batch_shape, *problem.shape)}."
    )
    assert plan.dtype == problem.dtype, f"{name}: the plan is in {plan.dtype}, but the problem in {problem.dtype}."
    assert plan.device == problem.device, f"{name}: the plan must live where the problem does."
    assert P.isfinite().all(), f"{name}: the plan must be finite."
    assert (P >= 0).all(), f"{name}: the plan must be non-negative."
    if isinstance(problem, Linear):
        absent = (problem.a == 0)[..., :, None] | (problem.b == 0)[..., None, :]
        assert (P.masked_select(absent) == 0).all(), f"{name}: a point of no weight must have no mass in the plan."
        forbidden = problem.geometry.dense() == math.inf
        assert (P.masked_select(forbidden) == 0).all(), f"{name}: no mass may move over a forbidden pair."


def _check_report(name: str, problem: Any, solution: Solution) -> None:
    report = solution.report
    assert isinstance(report.status, Status), f"{name}: the status must be one of monge.solver.Status."
    for what in ("marginal_error", "duality_gap", "iterations", "epsilon"):
        held = getattr(report, what)
        assert held.shape == problem.batch_shape, f"{name}: {what} must be one number per problem of the batch."
        assert not held.isnan().any(), f"{name}: {what} must not be NaN."
    assert (report.marginal_error >= 0).all(), f"{name}: marginal_error must not be negative."
    assert solution.value.shape == problem.batch_shape, f"{name}: value must be one number per problem of the batch."


def _check_marginals(name: str, problem: Linear, solution: Solution, P: Tensor) -> None:
    """What every constraint misses is no more than is reported."""
    wide = P.double()
    missed = torch.zeros(problem.batch_shape, dtype=torch.float64, device=P.device)
    for side, mu in ((problem.source, wide.sum(-1)), (problem.target, wide.sum(-2))):
        if isinstance(side, (Fixed, AtMost)):
            over = mu - side.weights.double()
            missed = missed + (over.clamp_min(0) if isinstance(side, AtMost) else over.abs()).sum(-1)
    mass = problem.mass if problem.mass is not None else torch.maximum(problem.source.total, problem.target.total)
    if problem.mass is not None:
        missed = missed + (wide.sum((-1, -2)) - problem.mass).abs()
    measured, rounding = missed / mass, 100 * torch.finfo(P.dtype).eps
    hidden = measured > 1.01 * solution.report.marginal_error + rounding
    assert not hidden.any(), (
        f"{name}: the report tells a marginal error of {solution.report.marginal_error.tolist()}, but that of the plan "
        f"is {measured.tolist()}."
    )


def _check_value(name: str, problem: Linear, solution: Solution, P: Tensor, tol: float) -> None:
    """The value is that of the plan, and the best there is if the status says so."""
    value, report = solution.value.detach().double(), solution.report
    objective = torch.stack(tuple(problem.terms(solution.coupling))).sum(0).detach()
    finite = problem.geometry.dense().detach().masked_fill(problem.geometry.dense() == math.inf, 0)
    scale = float(finite.abs().max()) * float(P.sum((-1, -2)).max()) + float(problem.epsilon.max())
    # What constraints miss has its price, too.
    slack = tol * scale + 10 * scale * report.marginal_error.double()
    assert ((value - objective).abs() <= slack).all(), (
        f"{name}: the value is {value.tolist()}, but the objective of the plan {objective.tolist()}."
    )
    best = best_value(problem)
    if best is not None:
        best = best.to(value.device)
        assert (value >= best - slack).all(), (
            f"{name}: the value {value.tolist()} is below the optimum {best.tolist()}."
        )
        lost = 0.0 if report.status in PROVED else report.duality_gap
        assert (value <= best + slack + lost).all(), (
            f"{name}: the value {value.tolist()} is above the optimum {best.tolist()}, but the status is "
            f"{report.status.name} and the duality gap {report.duality_gap.tolist()}."
        )
    elif problem.entropic and report.status in PROVED:
        _check_form(name, problem, P, tol)


def _check_form(name: str, problem: Linear, P: Tensor, tol: float) -> None:
    """C + epsilon log(P / ab) is a sum of a row and a column, whatever is asked of the marginals."""
    C, epsilon = problem.geometry.dense().detach(), problem.epsilon[..., None, None]
    prior = problem.a[..., :, None] * problem.b[..., None, :]
    there = (prior > 0) & (math.inf > C)
    if not bool(there.flatten(-2).all()):
        return
    score = C + epsilon * (P / prior).log()
    mixed = score - score.mean(-1, keepdim=True) - score.mean(-2, keepdim=True) + score.mean((-1, -2), keepdim=True)
    assert (P * mixed.abs()).sum((-1, -2)).max() <= 10 * tol * float(C.abs().max() + epsilon.max()), (
        f"{name}: the status says that the plan is optimal, but C + epsilon log(P / ab) is no sum of two potentials."
    )


def _check_gradient(name: str, solver: Solver, problem: Linear, solution: Solution, tol: float) -> None:
    """The value moves with the costs as the plan says, unless the solver promises no gradient."""
    if type(getattr(solver, "gradient", None)).__name__ == "Detached" or solution.report.status not in PROVED:
        return
    made, leaves = fresh(problem.geometry)
    value = _quietly(problem._replace(geometry=made), solver).value
    assert value.requires_grad, f"{name}: the value must be differentiable by the cost."
    twin, same = fresh(problem.geometry)
    cost = twin.dense().masked_fill(twin.dense() == math.inf, 0)
    expected = gradients((solution.coupling.dense().detach() * cost).sum((-1, -2)), same)
    for found, wanted in zip(gradients(value, leaves), expected, strict=True):
        allowed = {"rtol": 100 * tol, "atol": 100 * tol * float(wanted.abs().max())}
        compare(f"{name}: the gradient of the value by the cost", found, wanted, allowed, "is not that of <P, C>")


def _check_others(name: str, solver: Solver, problem: Any, solution: Solution, allowed: Tolerance) -> None:
    """A prepared solver, the transposed problem, and the problems of a batch one by one have the same value."""
    value = solution.value
    again = {"solver.prepare(problem)": (problem, solver.prepare(problem), value)}
    if isinstance(problem, Linear) and solver.supports(problem.T).supported:
        again["the transposed problem"] = problem.T, solver, value
    for k in range(problem.batch_shape[0] if problem.batch_shape else 0):
        again[f"problem {k} alone"] = problem._select((torch.tensor(k),)), solver, value[k]
    for what, (other, chosen, wanted) in again.items():
        found = _quietly(other, chosen)
        if found.report.status in PROVED:
            compare(f"{name}: the value of {what}", found.value, wanted, allowed, "is another one")
