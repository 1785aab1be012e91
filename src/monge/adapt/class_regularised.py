"""Entropic plans in which a target point receives from few classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_count, check_number
from monge._value import Value, value
from monge.coupling import DenseCoupling
from monge.errors import CapabilityError, DtypeError, ShapeError
from monge.geometry import CostMatrix
from monge.problem import Linear, Relative, relative
from monge.solver import Auto, Solution, Status, check_problem, solution_of

__all__ = ["ClassSolution", "solve_by_class"]

# The label of a point whose class is not known.
UNKNOWN = -1
_TOL = 1e-5
# How much closer than the outer tolerance each entropic problem is solved, so that its error is no step.
_INNER = 0.1


@value
class ClassSolution(Value):
    """A class-regularised plan, with the measurements that say how near it is to a stationary point.

    Args:
        coupling: The plan, which remembers the geometry of the problem, without the price of classes.
        value: The objective at this plan, the price of classes included.
        class_price: The price of classes alone, eta times the sum in `solve_by_class`.
        change: Mass that the last step moved, in L1, relative to the mass of the plan: zero at a stationary point.
        marginal_error: That of the last entropic problem, as in `monge.solver.Report`.
        iterations: How many entropic problems were solved.
        status: ``CONVERGED`` if change and marginal error are below the tolerance; if an entropic problem failed its
            own tolerance, its status; otherwise ``MAX_ITER``.
    """

    coupling: DenseCoupling
    value: Float[Tensor, ""]
    class_price: Float[Tensor, ""]
    change: Float[Tensor, ""]
    marginal_error: Float[Tensor, ""]
    iterations: int
    status: Status


@torch.no_grad()
def solve_by_class(
    problem: Linear,
    labels: Int[Tensor, " n"],
    *,
    eta: float | Relative | None = None,
    smoothing: float = 0.01,
    tol: float | None = None,
    max_iter: int = 300,
) -> ClassSolution:
    r"""Entropic transport with a price for every class from which a target point receives mass.

    $$\min_P \; \langle C, P\rangle + \epsilon\,\mathrm{KL}(P \,|\, a \otimes b)
    + \eta \sum_j b_j \sum_c \sqrt{s_{jc} + \delta}, \qquad s_{jc} = \frac{1}{b_j}\sum_{i \,:\, l_i = c} P_{ij}$$
    over the plans that the marginals of the problem allow. $s_{jc}$ is the share of class c in what target point j
    receives. The square root makes one class at a time cheap: mass from k classes in equal shares costs
    $\eta\sqrt{k}$ per unit. So points of one target cluster come from one class, though no target label is known.

    The sum is concave. Its tangent at a plan P is an upper bound, $\langle W, P\rangle$ with
    $W_{ij} = \tfrac{\eta}{2}(s_{j l_i} + \delta)^{-1/2}$ and a constant, so that each step solves an entropic problem
    with the cost C + W, started from the last potentials. No step raises the objective, up to the tolerance of these
    problems. A plan that a step leaves as it is, is stationary; it need not be the best one, since the objective has
    several local minima. The answer has no gradient. It holds n x m matrices and is computed in float64.

    With $\eta\sqrt m$ in place of their $\eta$, and $\delta = 10^{-3} m$, this is the objective of Courty et al. for m
    target points of equal weights.

    Args:
        problem: One problem with epsilon > 0, and any marginals.
        labels: The class of each source point, a whole number; -1 where it is not known. Such points pay nothing.
        eta: Price of classes in units of the cost, or `monge.relative` to the mean cost; None is ``relative(0.1)``.
        smoothing: The share $\delta$, which keeps the gradient of the square root finite at zero.
        tol: Where to stop: the mass that a step moves, in L1, relative to the whole; None is 1e-5.
        max_iter: Limit of the number of steps.

    Returns:
        The plan, in the dtype of the problem, with the value and measurements.

    Raises:
        InputError: If eta, smoothing or tol is out of range, or the problem is no problem.
        DtypeError: If labels are no whole numbers.
        ShapeError: If there is not one label per source point, or the problem is a batch.
        CapabilityError: If the problem is not a `Linear` one with positive epsilon.
        InfeasibleError: If no plan meets the marginals.

    Example:
        >>> import torch
        >>> import monge
        >>> from monge.adapt import solve_by_class
        >>> x = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
        >>> problem = monge.Linear(monge.geometry.PointCloud(x, x + 0.4), epsilon=0.3)
        >>> solution = solve_by_class(problem, torch.tensor([0, 0, 1, 1]), eta=1.0)
        >>> solution.status.ok
        True
        >>> P = solution.coupling.dense()
        >>> bool(P[:2, 2:].sum() < 0.1 * monge.solve(problem).coupling.dense()[:2, 2:].sum())
        True

    Source: Courty, Flamary, Tuia, Domain adaptation with regularized optimal transport (2014); Courty, Flamary, Tuia,
        Rakotomamonjy, Optimal transport for domain adaptation, arXiv:1507.00504.
    """
    _check_problem(problem)
    groups = _groups(labels, problem)
    check_number("smoothing", smoothing, low=0.0, strict=True)
    tol = _TOL if tol is None else tol
    check_number("tol", tol, low=0.0, strict=True)
    check_count("max_iter", max_iter)
    costs = CostMatrix._make(cost=problem.geometry.dense().double())
    wide = problem._widened(torch.float64)._replace(geometry=costs)
    price = _price(relative(0.1) if eta is None else eta, wide)

    def shares(plan: Tensor) -> Tensor:
        return torch.where(wide.b > 0, groups @ plan / wide.b, 0) + smoothing

    def solved(extra: Tensor | float, start: Any) -> tuple[Solution, Tensor]:
        posed = wide._replace(geometry=CostMatrix._make(cost=costs.cost + extra))
        found = solution_of(posed, Auto(tol=_INNER * tol, init=start))
        return found, found.coupling._block(slice(None))

    (inner, plan), iterations, change = solved(0.0, None), 1, torch.tensor(math.inf, dtype=torch.float64)
    while iterations < max_iter and change > tol and inner.report.status.ok:
        (inner, moved), iterations = solved(groups.T @ (price / 2 * shares(plan).rsqrt()), inner), iterations + 1
        plan, change = moved, (moved - plan).abs().sum() / moved.sum()
    status = inner.report.status
    if status.ok:
        status = Status.CONVERGED if change <= tol else Status.MAX_ITER
    class_price = price * (wide.b * shares(plan).sqrt()).sum()
    value = sum(wide.terms(DenseCoupling._make(matrix=plan, geometry=costs)), class_price)
    dtype = problem.geometry.dtype
    return ClassSolution(
        DenseCoupling._make(matrix=plan.to(dtype), geometry=problem.geometry),
        value=value.to(dtype),
        class_price=class_price.to(dtype),
        change=change.to(dtype),
        marginal_error=inner.report.marginal_error.to(dtype),
        iterations=iterations,
        status=status,
    )


def _check_problem(problem: Linear) -> None:
    """One entropic problem with a linear cost."""
    check_problem(problem)
    if not isinstance(problem, Linear) or not problem.entropic:
        raise CapabilityError(
            f"solve_by_class treats Linear problems with epsilon > 0, but got {problem}: pass Linear(..., "
            "epsilon=...), for example with epsilon=monge.relative(0.05)."
        )
    if problem.batch_shape:
        raise ShapeError(
            f"problem must be one problem, but is a batch of shape {tuple(problem.batch_shape)}: take the problems of "
            "a batch one by one."
        )


def _groups(labels: Tensor, problem: Linear) -> Float[Tensor, "k n"]:
    """One row for each class that is known, with ones at its points."""
    n = problem.shape[0]
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise DtypeError(
            f"labels must be a tensor of whole numbers, but is {kind}: use torch.as_tensor(labels).long()."
        )
    if labels.shape != (n,):
        raise ShapeError(f"labels must have shape ({n},), one per source point, but has {tuple(labels.shape)}.")
    labels = labels.to(problem.geometry.device)
    classes = labels[labels != UNKNOWN].unique()
    return (labels == classes[:, None]).double()


def _price(eta: float | Relative, problem: Linear) -> Tensor:
    """What eta is in units of the cost."""
    if isinstance(eta, Relative):
        return eta._resolved(problem.geometry, problem.a, problem.b)
    check_number("eta", eta, low=0.0)
    return torch.tensor(float(eta), dtype=problem.a.dtype, device=problem.a.device)
