"""From an exact plan and its potentials to a solution: what the exact solvers share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from monge import kernels
from monge._parts import parts_of
from monge.coupling import Coupling
from monge.errors import InfeasibleError
from monge.geometry import CostMatrix, SparseCost
from monge.kernels.derivatives import envelope, held
from monge.problem import Fixed, Linear, Relaxed
from monge.problem.marginal import pairing

from ._feasible import check_feasible
from .base import Solver
from .solution import DualSolution, Report, Status

_TOLD = (
    "The value of an exact problem has no second derivative by points and weights together: detach one of them, or "
    "give epsilon a positive value."
)
_PLAN_TOLD = (
    "An exact plan is not differentiated by weights, prices or masses: take its value, detach them, or give epsilon a "
    "positive value."
)
_MOVING_TOLD = (
    "An exact plan between marginals of curved price moves with everything, and is not differentiated: take its value, "
    "detach it, or give epsilon a positive value."
)
_POTENTIALS_TOLD = (
    "The potentials of an exact problem carry no derivative: detach them, differentiate the value, or give epsilon a "
    "positive value."
)
# A gap below this share of the numbers it is the difference of is rounding, not doubt.
_ROUNDING = 1e-9


class Exact(Solver):
    """A solver of linear programs, which computes in float64 whatever the dtype of the problem, and proves its plan.

    An exact solver derives from it, says what it treats and at what price, and writes `_optimal`. Marginals and the
    duality gap of what comes back are measured; the status is what they show, and the value has its derivative.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.coupling import DenseCoupling
        >>> from monge.problem import Linear
        >>> from monge.solver import Capability, Exact, value
        >>> @value
        ... class OneSource(Exact):
        ...     treats = frozenset({"linear", "exact", "balanced"})
        ...
        ...     def _capability(self, case):
        ...         n, m = case.problem.shape
        ...         return Capability(True, m, "one pass.") if n == 1 else Capability.no("There are several sources.")
        ...
        ...     def _optimal(self, problem, exact):
        ...         g = exact.geometry.block(0)[0]
        ...         return DenseCoupling(exact.b[None]), torch.zeros_like(g[:1]), g
        >>> solve(Linear.between(torch.zeros(1, 1), torch.tensor([[1.0], [2.0]])), OneSource()).value
        tensor(2.5000)
    """

    # Whether f_i + g_j <= C_ij is known of its potentials, so that no pass over all pairs has to show it.
    feasible: ClassVar[bool] = False

    @abstractmethod
    def _optimal(self, problem: Linear, exact: Linear) -> tuple[Coupling, Tensor, Tensor]:
        """An optimal plan and its potentials in float64, of a problem as it is given and as constants in float64."""

    def _small(self, exact: Linear, error: float) -> tuple[Coupling, kernels.Proof] | None:
        """The plan of a problem of few points, and what it proves, if there is a faster way to both of them."""
        return None

    def _reads_matrix(self, exact: Linear) -> bool:
        """Whether costs are kept as a matrix, since solving and proving read them many times."""
        return False

    def _solve(self, problem: Linear) -> DualSolution:
        exact = in_double(problem)
        found = self._small(exact, rounding(problem))
        if found is not None:
            return _finished(problem, *found)
        if self._reads_matrix(exact):
            exact = exact._stored()
        try:
            plan, f, g = self._optimal(problem, exact)
        except InfeasibleError:
            check_feasible(problem)  # says more, if it can
            raise
        return proved(problem, exact, plan, f, g, feasible=self.feasible)


def rounding(problem: Linear) -> float:
    """The relative error to which the weights of a problem are known: the rounding of its dtype."""
    return torch.finfo(problem.a.dtype).eps


def in_double(problem: Linear) -> Linear:
    """The same problem as constants in float64, in which a mass that equals that of a side is equal to it."""
    exact = (problem if _closed(problem) else problem.detach())._widened(torch.float64)
    if exact.mass is None:
        return exact
    fixed = [side.total for side in (exact.source, exact.target) if isinstance(side, Fixed)]
    wanted = fixed[0] if fixed else exact.mass
    return exact._replace(mass=wanted.minimum(exact.source.total).minimum(exact.target.total))


def proved(
    problem: Linear,
    exact: Linear,
    plan: Coupling,
    f: Tensor,
    g: Tensor,
    *,
    feasible: bool = False,
    steps: Tensor | None = None,
) -> DualSolution:
    """The solution of an exact problem, proved by its duality gap, which is measured in float64.

    It is proved for the plan's own marginals, which must be those of the problem to the rounding of its dtype.

    The value enters the graph of autograd by the envelope theorem: it moves with costs and prices through the plan, and
    with weights and mass through the potentials; where several are optimal the value has a kink, and its derivative is
    that of the two that were found. Whoever differentiates the potentials, or the plan by weights, is refused.

    Args:
        problem: What was solved, in its own dtype.
        exact: The same in float64.
        plan: The optimal plan in float64.
        f: (*b, n) potential of the rows in float64.
        g: (*b, m) potential of the columns in float64.
        feasible: Whether f_i + g_j <= C_ij is known.
        steps: The iterations of a method that has them. Its plan moves with the costs, and is not differentiated by
            them; that of the others is a vertex, which does not.
    """
    with torch.no_grad():
        constant = plan.detach()
        shown = _listed(exact, constant, f, g) or _measured(exact, constant, f, g, feasible)
    return _finished(problem, plan, shown, steps)


def _finished(problem: Linear, plan: Coupling, shown: kernels.Proof, steps: Tensor | None = None) -> DualSolution:
    """The solution that a proof allows, as it enters the graph of autograd."""
    batch, dtype = problem.batch_shape, problem.geometry.dtype
    blur = 64 * rounding(problem) + 1e-17 * sum(problem.shape)
    if shown.doubt.ndim == 0:
        proven = float(shown.doubt) <= _ROUNDING * float(shown.scale) and float(shown.violation) <= blur
    else:
        proven = bool(((shown.doubt <= _ROUNDING * shown.scale) & (shown.violation <= blur)).all())
    value, precise = shown.priced.to(dtype), (shown.f, shown.g)
    f, g = shown.f.to(dtype), shown.g.to(dtype)
    report = Report._make(
        status=Status.OPTIMAL if proven else Status.PRECISION,
        marginal_error=shown.violation.to(dtype).expand(batch),
        duality_gap=shown.gap.clamp_min(0).to(dtype).expand(batch),
        iterations=torch.zeros(batch, dtype=torch.long, device=f.device) if steps is None else steps,
        epsilon=problem.epsilon.detach().expand(batch),
    )
    # Few problems are differentiated, and finding out is quick; what a cost that is a function speaks of is not.
    sources = parts_of(problem).tensors if torch.is_grad_enabled() and not _closed(problem) else []
    if any(t.requires_grad for t in sources):
        constant = plan.detach()
        with torch.no_grad():
            marginals = constant.marginals()
        value = _attached(problem, constant, marginals, precise, value)
        if not any(t.requires_grad for t in plan._tensors()):
            weights = parts_of((problem.source, problem.target, problem.mass)).tensors
            others, told = (weights, _PLAN_TOLD) if steps is None else (sources, _MOVING_TOLD)
            plan = plan._map(lambda t: held(t, others, told) if t.is_floating_point() else t)
        f, g = (held(side, sources, _POTENTIALS_TOLD) for side in (f, g))
    plan = plan if plan.dtype == dtype else plan.to(dtype)
    return DualSolution._make(coupling=plan, value=value, report=report, problem=problem, f=f, g=g)


def of_few_points(exact: Linear, error: float) -> tuple[Tensor, Tensor, Tensor, kernels.Proof] | None:
    """Entries of the plan of a balanced problem and what they prove, by one call; None for all other problems."""
    few = max(exact.shape) <= kernels.exact.MOST and exact.balanced and exact.mass is None
    if not few or not kernels.AVAILABLE or exact.a.device.type != "cpu" or isinstance(exact.geometry, SparseCost):
        return None
    pairs = exact.geometry._pairs()
    if not isinstance(pairs, kernels.Points) or pairs.expands:
        pairs = kernels.Matrix(exact.geometry._dense())
    return kernels.exact.small(pairs, exact.a, exact.b, tuple(exact.batch_shape), error)


def _closed(problem: Linear) -> bool:
    """Whether it is quick to see that nobody differentiates: all that is there are tensors without a gradient."""
    plain = not callable(getattr(problem.geometry, "cost", None))
    return plain and not any(t.requires_grad for t in problem._tensors())


def _listed(exact: Linear, plan: Coupling, f: Tensor, g: Tensor) -> kernels.Proof | None:
    """The proof of a balanced problem with a matrix by one loop, where the entries of the plan are listed."""
    entries = plan._entries() if exact.balanced and isinstance(exact.geometry, CostMatrix) else None
    if entries is None:
        return None
    batch = exact.batch_shape
    f, g = (side.expand(*batch, side.shape[-1]) for side in (f, g))
    return kernels.proof(exact.geometry._dense(), *entries, exact.a, exact.b, f, g)


def _measured(exact: Linear, plan: Coupling, f: Tensor, g: Tensor, feasible: bool) -> kernels.Proof:
    """The proof of any problem."""
    f, g = exact._settled(f, g)  # a price met to the last digit may be passed by rounding
    f, g = exact._normalised(f, g)
    row, col = plan.marginals()
    cost = plan._inner(exact.geometry).expand(exact.batch_shape)
    priced = exact._priced(cost, row, col, f, g)
    violation, mass = _violation(exact, row, col), None if exact.mass is None else row.sum(-1)
    met = exact._replace(source=exact.source._met_by(row), target=exact.target._met_by(col), mass=mass)
    # One pass over all pairs, unless it is known that no potential has to be lowered.
    lowered = f if feasible else exact._lowered(f, g)
    doubt = met._priced(cost, row, col, f, g) - met._conjugates(lowered, g)
    scale = cost.abs() + pairing(exact.a, f.abs()) + pairing(exact.b, g.abs())
    return kernels.Proof(f, g, priced, priced - exact._conjugates(lowered, g), violation, doubt, scale)


def _violation(problem: Linear, row: Tensor, col: Tensor) -> Tensor:
    """The mass by which constraints are broken, relative to the mass moved."""
    broken, moved = problem.source._violation(row) + problem.target._violation(col), row.sum(-1)
    if problem.mass is not None:
        broken = broken + (moved - problem.mass).abs()
    return broken / moved.clamp_min(torch.finfo(row.dtype).tiny)


def _attached(
    problem: Linear,
    plan: Coupling,
    marginals: tuple[Tensor, Tensor],
    potentials: tuple[Tensor, Tensor],
    number: Tensor,
) -> Tensor:
    """The number, with the derivatives that the envelope theorem gives it."""
    costs, sides = parts_of(problem.geometry), parts_of(problem)
    pieces = parts_of(plan.to(problem.geometry.dtype))
    weights = parts_of((problem.source, problem.target, problem.mass)).tensors
    moved = envelope(
        lambda constants, tensors: costs.within(tensors, pieces.build(constants).transport_cost),
        pieces.tensors,
        costs.tensors,
        weights,
        _TOLD,
    )
    terms = envelope(
        lambda constants, tensors: sides.within(
            [*costs.tensors, *tensors], lambda problem: _side_terms(problem, *constants)
        ),
        [held.to(problem.a.dtype) for held in (*marginals, *potentials)],
        sides.tensors[len(costs.tensors) :],
        costs.tensors,
        _TOLD,
    )
    return number + (moved - moved.detach() + terms - terms.detach()).to(number.dtype)


def _side_terms(problem: Linear, row: Tensor, col: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """What is differentiable of both sides: their prices at the plan's marginals, their weights at the potentials."""
    moving, weighed = torch.zeros_like(row[..., 0]), problem._contents()
    for name, mu in (("source", row), ("target", col)):
        side = weighed[name]
        if isinstance(side, Relaxed):
            moving = moving + side._replace(weights=side.weights.detach())._penalty(mu)
            weighed[name] = side._replace(rho=side.rho.detach() if isinstance(side.rho, Tensor) else side.rho)
    return moving + problem._make(**weighed)._conjugates(f, g)
