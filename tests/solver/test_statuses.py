"""What a solver says of its plan, against the plan: costs of every size, every dtype, every kind of marginal."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from linear_problems import PROBLEMS, D

from monge import couple, solve
from monge.errors import PrecisionWarning
from monge.geometry import CostMatrix, PointCloud
from monge.gradient import Detached, Envelope, Implicit, Unrolled
from monge.problem import AtMost, Fixed, Linear, Relaxed, relative
from monge.solver import Auto, Newton, Sinkhorn, Status
from sweep import sweep

HALF = (torch.float16, torch.bfloat16)
TOL = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def asked(side, mu, f):
    """The marginal nearest to mu that the potential implies, from the penalties as they are written down."""
    a = side.weights.double()
    if isinstance(side, Fixed):
        return a.expand_as(mu)
    if isinstance(side, AtMost):
        return torch.where(f < 0, a, torch.minimum(mu, a))
    if not isinstance(side, Relaxed):
        return mu
    if side.penalty == "kl":
        return a * torch.exp(-f / side.rho)
    if side.penalty == "l2":
        return (a - f / side.rho).clamp(min=0)
    above, below = f >= side.rho * (1 - 1e-6), f <= -side.rho * (1 - 1e-6)
    return torch.where(above, torch.minimum(mu, a), torch.where(below, torch.maximum(mu, a), a))


def true_error(problem, solution):
    """L1 error of both marginals of the plan entry by entry, relative to the mass that is asked for."""
    plan = solution.coupling.dense().double()
    row, col = plan.sum(-1), plan.sum(-2)
    f, g = solution.f.double(), solution.g.double()
    if problem.mass is not None:
        f, g = f - f.amax(-1, keepdim=True), g - g.amax(-1, keepdim=True)
    rows, cols = asked(problem.source, row, f), asked(problem.target, col, g)
    missed = (row - rows).abs().sum(-1) + (col - cols).abs().sum(-1)
    mass = torch.maximum(rows.sum(-1), cols.sum(-1)).clamp(min=1e-30)
    if problem.mass is not None:
        missed = missed + (plan.sum((-1, -2)) - problem.mass).abs()
    return missed / mass


def instance(seed):
    """A problem and the name of its kind: the size of the cost, its offset and epsilon have nothing to do with it."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * float(torch.rand((), generator=rng))

    def pick(options):
        return options[int(torch.randint(len(options), (), generator=rng))]

    dtype = pick([D, D, torch.float32, torch.float32, torch.float16, torch.bfloat16])
    n, m, batch = pick([1, 2, 5, 8]), pick([1, 2, 3, 7]), pick([(), (1,), (2,), (3,)])
    cost = torch.rand(*batch, n, m, generator=rng, dtype=D)
    low, high = (-3, 3) if dtype in HALF else (-8, 16)
    scale = 10 ** uniform(low, high)
    cost = scale * (cost * 10 ** uniform(-6, 0) + pick([0.0, 0.0, 1.0]))
    epsilon = pick([1.0, scale * 10 ** uniform(-5, 1), scale * 10 ** uniform(-5, 1)])
    epsilon = min(max(epsilon, 1e-4), 1e4) if dtype in HALF else epsilon
    if dtype in HALF:
        return "half", Linear(CostMatrix(cost.to(dtype)), epsilon=epsilon)
    a, b = (torch.rand(*batch, k, generator=rng, dtype=D) + 0.05 for k in (n, m))
    name = pick(list(PROBLEMS))
    a, b = ((w / w.sum(-1, keepdim=True)).to(dtype) for w in (a, b))
    mass = PROBLEMS[name](a, b)[2]
    # A mass that weights in float32 do not quite reach is refused, as it should be.
    source, target, _ = PROBLEMS[name](a, b)
    return name, Linear(CostMatrix(cost.to(dtype)), source, target, epsilon=epsilon, mass=mass)


def solver_of(seed):
    """Budgets that are often too small, and at times the router's choice with its own."""
    if seed % 12 == 0:
        return Auto(candidates=(Sinkhorn(), Newton()))
    return (Sinkhorn(max_iter=60), Newton(max_iter=60))[seed % 2]


@sweep(36)
def test_converged_is_true(seeds):
    for seed in seeds:
        name, problem = instance(seed)
        solver = solver_of(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solution = solve(problem, solver)
        told = f"seed {seed}: {name}, {problem!r}, {solver!r}, {solution.report!r}"
        assert solution.f.isfinite().all(), told
        assert solution.g.isfinite().all(), told
        assert not solution.report.marginal_error.isnan().any(), told
        error, report = true_error(problem, solution), solution.report
        if report.status is Status.CONVERGED:
            tol = TOL[problem.geometry.dtype]
            assert (error <= 3 * tol).all(), f"{told}: true error {error.tolist()}"
            assert (report.marginal_error <= tol).all(), told
        else:
            assert (report.marginal_error >= 0).all(), told
            assert not (report.iterations < 60).all() or report.status is Status.PRECISION, told


@sweep(12)
def test_a_batch_is_as_good_as_a_loop(seeds):
    """Answers agree as far as both are known: to a few errors, and of one status but for a hair's breadth."""
    for seed in seeds:
        name, problem = instance(seed + 1_000_000)
        if not problem.batch_shape or name == "half":
            continue
        solver = (Sinkhorn(max_iter=300), Newton(max_iter=300))[seed % 2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = solve(problem, solver)
            for k in range(problem.batch_shape[0]):
                alone = solve(problem._select((torch.tensor(k),)), solver)
                plan, other = together.coupling.dense()[k], alone.coupling.dense()
                if Status.CONVERGED is alone.report.status is together.report.status:
                    tol = 1e-3 if problem.a.dtype == D else 3e-2
                    assert (plan - other).abs().sum() <= tol * other.sum().clamp(min=1e-30), f"seed {seed}: {name}"


@pytest.mark.parametrize("solver", [None, Sinkhorn(), Newton()])
@pytest.mark.parametrize("clouds", ["offset", "far"])
def test_costs_beyond_the_precision_of_epsilon(solver, clouds):
    if clouds == "offset":
        geometry = CostMatrix(torch.full((6, 7), 1e8))
    else:
        geometry = PointCloud(torch.zeros(6, 2), torch.zeros(7, 2) + 7071.0)
    with pytest.warns(PrecisionWarning):
        solution = solve(Linear(geometry, epsilon=1.0), solver)
    assert solution.report.status is Status.PRECISION
    assert float(solution.report.marginal_error) >= float(true_error(Linear(geometry, epsilon=1.0), solution)) / 3
    with pytest.warns(PrecisionWarning):
        couple(geometry, epsilon=1.0, solver=solver)


@pytest.mark.parametrize("gradient", [Implicit(), Envelope(), Detached(), Unrolled()])
def test_potentials_are_normalised_for_every_gradient(gradient):
    cost = 10 * torch.rand(10, 7, dtype=D)
    problem = Linear(CostMatrix(cost.requires_grad_()), epsilon=10.0)
    solution = Sinkhorn(gradient=gradient, max_iter=100)._solve(problem)
    assert float((problem.a @ solution.f - problem.b @ solution.g).detach()) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("solver", [None, Sinkhorn(), Newton(), Sinkhorn(gradient=Unrolled(), max_iter=3)])
@pytest.mark.parametrize("epsilon", [0.1, relative(0.01)])
def test_an_empty_batch_in_an_empty_batch_out(solver, epsilon):
    solution = solve(Linear(PointCloud(torch.zeros(0, 5, 2), torch.zeros(0, 6, 2)), epsilon=epsilon), solver)
    assert solution.coupling.shape == (0, 5, 6)
    assert solution.f.shape == (0, 5)
    assert solution.value.shape == (0,)
    assert solution.report.status.ok


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("solver", [Sinkhorn(), Newton()])
def test_half_precision_reaches_its_tolerance(dtype, solver):
    x, y = torch.randn(60, 3).to(dtype), torch.randn(50, 3).to(dtype)
    solution = solver._solve(Linear(PointCloud(x, y), epsilon=relative(0.1)))
    assert solution.report.status is Status.CONVERGED
    assert int(solution.report.iterations) < 50
    assert solution.f.dtype == torch.float32
    assert solution.coupling.dtype == dtype
    wide = solver._solve(Linear(PointCloud(x.float(), y.float()), epsilon=relative(0.1)))
    assert float((solution.coupling.dense().float() - wide.coupling.dense()).abs().sum()) < 0.02


def test_an_error_that_rounding_does_not_explain_is_not_blamed_on_it():
    problem = Linear(PointCloud(torch.randn(60, 3), torch.randn(60, 3)), epsilon=relative(2e-4))
    solution = Sinkhorn(max_iter=60)._solve(problem)
    assert solution.report.status is Status.MAX_ITER
    assert math.isclose(
        float(solution.report.marginal_error), float(true_error(problem, solution)), rel_tol=0.05, abs_tol=1e-4
    )
