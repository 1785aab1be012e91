"""Barycentres whose points move."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_points, check_same, check_weights
from monge._users_arrays import takes_arrays
from monge._value import Value, value
from monge.coupling import Coupling, PotentialCoupling
from monge.errors import ConvergenceWarning, InputError, ShapeError
from monge.geometry import Geometry, PointCloud, cost_between
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.solver import Auto, DualSolution, Newton, Solution, Solver, Status, solve, warned_solution

from ._best_points import best_points
from ._descent import Curvature
from ._measures import GivenMeasure, Measure, as_measures, by_size, check_masses, stacked
from .divergence import self_solution

__all__ = ["Barycenter", "barycenter", "check_shares"]


@value
class Barycenter(Value):
    """The barycentre of several measures, and how it was found.

    Args:
        points: The points of the barycentre.
        weights: The weights of these points.
        couplings: One plan for each measure, from the barycentre to that measure.
        history: The objective after each iteration; it never rises.
        status: Whether the points no longer moved, measured after the last iteration.

    Example:
        >>> import torch
        >>> import monge
        >>> monge.barycenter([torch.zeros(3, 2), torch.ones(3, 2)]).points[0]
        tensor([0.5000, 0.5000])
    """

    points: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"]
    couplings: tuple[Coupling, ...]
    history: Float[Tensor, " iterations"]
    status: Status
    _gives_numpy = True

    @property
    def value(self) -> Float[Tensor, ""]:
        """The last objective of the history."""
        return self.history[-1]


@takes_arrays
def barycenter(
    measures: Sequence[GivenMeasure] | Float[Tensor, "k n d"],
    weights: Float[Tensor, " k"] | Sequence[float] | None = None,
    *,
    size: int | None = None,
    start: Float[Tensor, "n d"] | None = None,
    point_weights: Float[Tensor, " n"] | None = None,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.0,
    debiased: bool = True,
    tol: float = 1e-4,
    max_iter: int = 500,
    solver: Solver | None = None,
) -> Barycenter:
    r"""The Wasserstein barycentre of clouds: n points of given weights that are nearest to all measures together.

    $$\min_z \sum_k \lambda_k \mathrm{OT}(z, \mu_k), \qquad C_{ij} = \lVert z_i - y_j\rVert^2$$
    Two steps alternate until the points no longer move: the plans to every measure are computed, and then the best
    points for these plans, $z_i \leftarrow \sum_k \lambda_k T_k(z_i)$ with the barycentric maps $T_k$. Every step
    lowers the objective. The objective is not convex in z, so the answer is a local minimum that depends on the start.
    Entropic plans move the points too close together. The debiased barycentre minimises Sinkhorn divergences instead,
    along $\sum_k \lambda_k T_k(z) - T_z(z)$. Entropic objectives are smooth, and their iterations estimate the
    curvature from earlier steps (L-BFGS); a step that does not lower the objective is made shorter. The computation
    runs in double precision. Under other costs the best points for given plans have no formula: they are improved by
    L-BFGS, and tried at the points that get most of their mass, where a distance has its kinks. With
    ``cost="euclidean"`` the barycentre of single points is their geometric median. For histograms on common points
    there is another function, `barycenter_on`.

    Args:
        measures: Clouds (n, d) of any sizes, or pairs (cloud, weights) of equal mass, or one tensor of clouds.
        weights: How much each measure counts, lambda, scaled to sum one; with None all count the same.
        size: How many points the barycentre has; None takes as many as the measure that counts most.
        start: Points to start from; None takes points of the measures, evenly along their list.
        point_weights: Weights of the points of the barycentre, scaled to the mass of the measures; equal ones if None.
        cost: A name of `monge.geometry.COSTS`, or a function as in `monge.geometry.PointCloud`.
        epsilon: Strength of the entropy, or `relative` to the mean cost of all points; zero takes exact plans.
        debiased: Whether an entropic barycentre is corrected for its shrinkage; exact barycentres do not shrink.
        tol: Movement $|\sum_k \lambda_k T_k(z) - T_z(z)|$ below which the iteration stops: its root mean square,
            relative to the spread of all points.
        max_iter: Limit of the number of iterations.
        solver: How the plans are found; None chooses.

    Returns:
        Points, weights, the plans from them to the measures, and the history of the objective. With exact plans the
        points are differentiable in those of the measures and in lambda, almost everywhere; with entropic plans, and
        under other costs than the squared distance, they are constants.

    Raises:
        InputError: If a measure or an option is wrong, or a debiased barycentre is asked of another cost than the
            squared distance.
        InfeasibleError: If the measures differ in mass.

    Warns:
        ConvergenceWarning: If the points still moved after ``max_iter`` iterations, or where rounding lets no
        iteration lower
            the objective.

    Example:
        >>> import torch
        >>> import monge
        >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> monge.barycenter([square, square + 2.0]).points.mean(0)
        tensor([1.5000, 1.5000])

    Source: Cuturi, Doucet, Fast computation of Wasserstein barycenters (arXiv 1310.4375); Janati, Cuturi, Gramfort,
        Debiased Sinkhorn barycenters (arXiv 2006.02575).
    """
    check_number("tol", tol, low=0.0, high=1.0, strict=True)
    check_number("max_iter", max_iter, low=1)
    given = _checked(measures)
    shares = check_shares("weights", weights, len(given), given[0].x)
    dtype = given[0].x.dtype
    with torch.no_grad():
        search = _Search(given, shares, epsilon, debiased, solver, cost)
        first = search.first(_check_size(size, start, point_weights), start)
        if point_weights is not None:
            search.given_weights = _check_weights(point_weights, len(first), given[0].x)
        path = _descend(search, first, tol, int(max_iter))
        plans = tuple(plan.to(dtype) for plan in path.step.plans)
    if path.status is not Status.CONVERGED:
        spent = path.status is Status.MAX_ITER
        ended = f"after max_iter={max_iter} iterations" if spent else "where no step lowers the objective"
        warnings.warn(
            f"The points of the barycentre still moved by {path.moved:.1e} of the spread {ended}, more than "
            f"tol={tol:.0e}: raise max_iter or tol.",
            ConvergenceWarning,
            stacklevel=3,
        )
    if search.entropic or not search.squared:
        z = (path.z + search.centre).to(dtype)
    else:
        # Exact plans are locally constant, so that one more iteration has the derivative of the fixed point.
        means = [plan.barycentric(measure.x) for plan, measure in zip(plans, given, strict=True)]
        z = (shares[:, None, None] * torch.stack(means)).sum(0)
    return Barycenter._make(
        points=z,
        weights=search.weights(len(z)).to(dtype),
        couplings=plans,
        history=torch.stack(path.history).to(dtype),
        status=path.status,
    )


class _Path(NamedTuple):
    """Where the points came to rest, the step that they did not take there, and how they got there."""

    z: Tensor
    step: _Step
    history: list[Tensor]
    moved: float
    status: Status


def _descend(search: _Search, z: Tensor, tol: float, max_iter: int) -> _Path:
    """Iterations, each of which lowers the objective, until the next one would hardly move the points."""
    step, curvature = search.step(z), Curvature()
    history = [step.value]
    while True:
        moved = float((step.z - z).square().sum(-1).mean().sqrt() / search.spread)
        if moved <= tol or len(history) > max_iter:
            return _Path(z, step, history, moved, Status.CONVERGED if moved <= tol else Status.MAX_ITER)
        # The best points for exact plans are known; entropic ones bend with the points, which the past tells.
        way = curvature.direction(z - step.z) if search.entropic else step.z - z
        # Beyond the spread of the points the past tells nothing.
        way = way * min(1.0, float(search.spread / way.square().sum(-1).mean().sqrt()))
        for along in (way, way / 4, step.z - z, (step.z - z) / 4, (step.z - z) / 16):
            reached = search.step(z + along)
            if bool(reached.value < step.value):
                break
        else:
            return _Path(z, step, history, moved, Status.PRECISION)
        curvature.learn(along, step.z - z - (reached.z - z - along))
        z, step = z + along, reached
        history.append(step.value)


class _Step(NamedTuple):
    """One iteration: the points after it, the plans and the objective before it."""

    z: Tensor
    plans: tuple[Coupling, ...]
    value: Tensor


class _Group(NamedTuple):
    """Measures of one size: their places in the list, their points and weights as a batch, and how much each counts."""

    members: list[int]
    x: Tensor
    a: Tensor
    shares: Tensor


class _Search:
    """The alternation, with what it keeps from one iteration to the next: the potentials of each group of measures."""

    given_weights: Tensor | None = None

    def __init__(
        self, given: list[Measure], shares: Tensor, epsilon: Any, debiased: bool, solver: Any, cost: Any
    ) -> None:
        """In double precision, of one mass, around the common centre where costs do not see where they are."""
        self.shares, self.solver, self.mass = shares.detach().double(), solver, given[0].a.detach().double().sum()
        doubled = [(one.x.detach().double(), one.a.detach().double(), one.uniform) for one in given]
        measures = [Measure(x, a * (self.mass / a.sum()), uniform) for x, a, uniform in doubled]
        pooled = torch.cat([measure.x for measure in measures])
        joint = torch.cat([share * measure.a for share, measure in zip(self.shares, measures, strict=True)])
        self.like, self.cost, self.squared = given[0].x, cost, cost == "sqeuclidean"
        centre = (joint[:, None] * pooled).sum(0) / joint.sum()
        self.centre = centre if cost in ("sqeuclidean", "euclidean") else torch.zeros_like(centre)
        middle, pooled = centre - self.centre, pooled - self.centre
        self.measures = [measure._replace(x=measure.x - self.centre) for measure in measures]
        spread = ((joint[:, None] * (pooled - middle) ** 2).sum() / joint.sum()).sqrt()
        # Points that are all one have no spread, and then nothing moves either.
        self.spread = torch.where(spread > 0, spread, torch.ones_like(spread))
        self.pooled = pooled
        epsilon = epsilon.double() if isinstance(epsilon, Tensor) and epsilon.is_floating_point() else epsilon
        whole = Linear(cost_between(pooled, pooled, cost), joint, joint, epsilon)
        self.epsilon, self.entropic = whole.epsilon, whole.entropic
        self.debiased = debiased and self.entropic
        if self.debiased and not self.squared:
            raise InputError(
                f"debiased=True needs cost='sqeuclidean', whose best points are means, but cost={cost!r}: pass "
                "debiased=False."
            )
        self.groups = [
            _Group(members, *stacked(self.measures, members), self.shares[torch.tensor(members, device=pooled.device)])
            for _, members in sorted(by_size(self.measures).items())
        ]
        self.known: list[DualSolution | None] = [None] * len(self.groups)
        self.bias = self._bias() if self.debiased else torch.zeros_like(self.mass)

    def weights(self, n: int) -> Tensor:
        """Weights of the mass of the measures, equal unless they are given."""
        given = self.given_weights
        return (self.mass / n).expand(n).clone() if given is None else self.mass * given

    def first(self, size: int | None, start: Tensor | None) -> Tensor:
        """Where the points start."""
        if start is not None:
            check_points("start", start)
            check_same(start=start, measures=self.like)
            if start.ndim != 2 or start.shape[-1] != self.pooled.shape[-1]:
                raise ShapeError(
                    f"start must have shape (n, {self.pooled.shape[-1]}), but has {tuple(start.shape)}: give it the "
                    "coordinates of the measures."
                )
            if size is not None and size != len(start):
                raise InputError(f"size={size} and start, of {len(start)} points, disagree: leave one of them out.")
            return start.detach().double() - self.centre
        heaviest = self.measures[int(self.shares.argmax())]
        count = heaviest.size if size is None else size
        check_number("size", count, low=1)
        if count == heaviest.size:
            return heaviest.x
        # Points of one measure where it has enough of them: a mixture starts further from any barycentre.
        source = heaviest.x if count <= heaviest.size else self.pooled
        if count > len(source):
            raise InputError(
                f"size={count} is more than the {len(source)} points of all measures: give start points yourself."
            )
        return source[torch.arange(count, device=source.device) * len(source) // count]

    def step(self, z: Tensor) -> _Step:
        """Plans to all measures, and the points that are best for them."""
        iteration = torch.zeros_like(z)
        objective = self.bias.clone()
        plans: list[Coupling | None] = [None] * len(self.measures)
        for place, (members, x, a, shares) in enumerate(self.groups):
            cloud = cost_between(z, x, self.cost)
            problem = Linear.between(cloud, None, self.weights(len(z)), a, epsilon=self.epsilon)
            solution = self._solved(problem, self.known[place])
            self.known[place] = solution if isinstance(solution, DualSolution) else None
            if self.squared:
                iteration = iteration + (shares[:, None, None] * solution.coupling.barycentric(x)).sum(0)
            objective = objective + (shares * solution.value).sum()
            for index, k in enumerate(members):
                plans[k] = solution.coupling[index]
        if not self.squared:
            targets = [measure.x for measure in self.measures]
            parts = [
                share * plan.dense()[:, : len(y)]
                for share, plan, y in zip(self.shares, plans, targets, strict=True)
                if plan is not None
            ]
            iteration = best_points(self.cost, z, targets, parts)
        if self.debiased:
            problem = self._itself(z, self.weights(len(z)))
            own = self_solution(problem, self.solver)
            plan = PotentialCoupling._make(
                geometry=problem.geometry,
                f=own.potential,
                g=own.potential,
                a=problem.a,
                b=problem.b,
                epsilon=problem.epsilon,
                link="exp",
            )
            iteration = z + iteration - plan.barycentric(z)
            objective = objective - own.value / 2
        return _Step(iteration, tuple(plan for plan in plans if plan is not None), objective)

    def _solved(self, problem: Linear, known: DualSolution | None) -> Solution:
        """The solution, from the potentials of the last iteration if they lead there."""
        solver = Auto().explain(problem).chosen if self.solver is None else self.solver
        if known is not None and hasattr(solver, "init"):
            # Near the answer the second derivative is worth its price, however the first one was found.
            near = Newton() if self.entropic and self.solver is None else solver
            solution = solve(problem, replace(near, init=(known.f, known.g)))  # type: ignore[type-var]
            if solution.report.status.ok:
                return solution
        # A value that is not the minimum, found from potentials too far off, could pass for a fall.
        return warned_solution(problem, solver)

    def _itself(self, x: Tensor, a: Tensor) -> Linear:
        return Linear.between(PointCloud(x, x), None, a, a, epsilon=self.epsilon)

    def _bias(self) -> Tensor:
        """Half of what the measures cost with themselves, a constant of the debiased objective."""
        total = torch.zeros_like(self.mass)
        for _, x, a, shares in self.groups:
            total = total - (shares * self_solution(self._itself(x, a), self.solver).value).sum() / 2
        return total


def _check_size(size: int | None, start: Tensor | None, point_weights: Any) -> int | None:
    """How many points there are, by whatever tells it."""
    if size is not None or start is not None or not isinstance(point_weights, Tensor):
        return size
    return point_weights.shape[-1] if point_weights.ndim else None


def _check_weights(weights: Tensor, n: int, like: Tensor) -> Tensor:
    """Weights of the points of the barycentre, in double precision and of sum one."""
    check_weights("point_weights", weights, n)
    if weights.ndim != 1:
        raise ShapeError(f"point_weights must have shape ({n},), one number a point, but have {tuple(weights.shape)}.")
    check_same(point_weights=weights, measures=like)
    return weights.detach().double() / weights.detach().double().sum()


def check_shares(
    name: str, weights: Tensor | Sequence[float] | None, count: int, like: Tensor
) -> Float[Tensor, " {count}"]:
    """How much each measure counts, as numbers that sum to one."""
    if weights is None:
        return torch.full((count,), 1.0 / count, dtype=like.dtype, device=like.device)
    shares = weights if isinstance(weights, Tensor) else torch.tensor(weights, dtype=like.dtype, device=like.device)
    check_weights(name, shares, count)
    if shares.ndim != 1:
        raise ShapeError(f"{name} must have shape ({count},), one number per measure, but has {tuple(shares.shape)}.")
    check_same(**{name: shares, "measures": like})
    return shares / shares.sum()


def _checked(measures: Any) -> list[Measure]:
    if isinstance(measures, Geometry):
        raise InputError(
            "measures must be a list of clouds, but is a geometry: use barycenter_on(geometry, histograms)"
        )
    given = as_measures("measures", measures)
    check_masses("measures", torch.stack([measure.a.detach().sum() for measure in given]))
    return given
