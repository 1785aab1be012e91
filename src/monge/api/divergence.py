"""The debiased Sinkhorn divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._users_arrays import takes_arrays
from monge.errors import CapabilityError, InputError
from monge.geometry import Geometry
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.problem.marginal import column, pairing
from monge.solver import Auto, DualSolution, Newton, Sinkhorn, Solver, Status, Symmetric, warned_solution

from ._gibbs import Costs, check_symmetric

__all__ = ["Own", "check_entropic", "debiased", "divergence", "dual_solution", "self_solution"]


@takes_arrays
def divergence(
    x: Float[Tensor, "*b n d"] | Geometry,
    y: Float[Tensor, "*b m d"] | None = None,
    a: Float[Tensor, "..."] | None = None,
    b: Float[Tensor, "..."] | None = None,
    *,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor | Relative = 0.05,
    rho: float | Tensor | tuple[float | Tensor, float | Tensor] | None = None,
    solver: Solver | None = None,
) -> Float[Tensor, "*b"]:
    r"""The Sinkhorn divergence: entropic transport without its bias.

    $$S_\epsilon(\mu, \nu) = \mathrm{OT}_\epsilon(\mu, \nu) - \tfrac12\mathrm{OT}_\epsilon(\mu, \mu)
    - \tfrac12\mathrm{OT}_\epsilon(\nu, \nu) \;\big[+ \tfrac\epsilon2 (|\mu| - |\nu|)^2 \text{ with } \rho\big]$$
    where $\mathrm{OT}_\epsilon$ is the minimum of $\langle C, P\rangle + \epsilon\,\mathrm{KL}(P | a \otimes b)$.
    For powers p in (0, 2] of the Euclidean distance, it is non-negative, zero only for equal measures, and has a smooth
    gradient that vanishes there. This makes it a good loss between point clouds. It is computed from differences of
    potentials, $\langle a, f_{xy} - f_{xx}\rangle + \langle b, g_{xy} - g_{yy}\rangle$, which keep digits that would be
    lost in a difference of the three values. The term of a measure with itself needs one potential and few iterations.

    Args:
        x: First clouds, or a geometry with the same points on both sides, for histograms and pictures.
        y: Second clouds.
        a: Weights (*b, n) of `x`, 1/n each if None; on a `monge.geometry.Grid` they may have its shape, (*b, h, w).
        b: Weights (*b, m) of `y`; of the same mass unless ``rho`` is given.
        cost: As in `PointCloud`; it must be symmetric in its two points.
        epsilon: Strength of the entropy, positive, in units of the cost; `relative` refers to the mean cost between x
            and y. The same number is used in all three terms.
        rho: Price of missing a marginal, $\rho\,\mathrm{KL}$ on either side, the same on both; None, and infinity, for
            fixed marginals.
        solver: An entropic solver, whose ``gradient`` says how the answer is differentiated; None chooses.

    Returns:
        One divergence per problem, in units of the cost (not rooted); in NumPy, if the clouds or weights are arrays of
        NumPy.

    Raises:
        InputError: If an argument is wrong; the message says which, why, and what to do.
        InfeasibleError: If the masses differ and there is no ``rho``.

    Example:
        >>> import torch
        >>> import monge
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> monge.divergence(x, x).abs() < 1e-6
        tensor(True)

    Source: Feydy et al., Interpolating between optimal transport and MMD using Sinkhorn divergences (arXiv 1810.08278);
        Sejourne et al., Sinkhorn divergences for unbalanced optimal transport (arXiv 1910.12958).
    """
    if isinstance(rho, tuple) and len(rho) == 2 and bool(torch.as_tensor(rho[0] != rho[1]).any()):
        raise InputError(
            "rho must be one price for both sides of the divergence, which also compares a measure with itself, but is "
            f"{rho!r}: pass one of them."
        )
    problem = Linear.between(x, y, a, b, cost=cost, epsilon=epsilon, rho=rho)
    if isinstance(x, Geometry):
        check_symmetric(x, Costs(x).asymmetry(), "the divergence")
    epsilon = problem.epsilon.detach() if isinstance(epsilon, Relative) else problem.epsilon
    sides = ((x, None), (x, None)) if isinstance(x, Geometry) else ((x, x), (y, y))
    own = [
        Linear.between(*points, weights, weights, cost=cost, epsilon=epsilon, rho=rho)  # type: ignore[arg-type]
        for points, weights in zip(sides, (problem.a, problem.b), strict=True)
    ]
    check_entropic(problem)
    return debiased(problem, dual_solution(problem, solver), *(self_solution(one, solver) for one in own))


def dual_solution(problem: Linear, solver: Solver | None) -> DualSolution:
    """The solution of a problem, with the potentials from which the divergence is computed."""
    solution = warned_solution(problem, solver)
    if not isinstance(solution, DualSolution):
        raise CapabilityError(
            f"The divergence is computed from potentials, but {solver} finds none: use Sinkhorn or Newton."
        )
    return solution


class Own(NamedTuple):
    """The solution of the problem between a measure and itself: its value, and the potential that both sides share."""

    value: Float[Tensor, "*b"]
    potential: Float[Tensor, "*b n"]


def self_solution(problem: Linear, solver: Solver | None) -> Own:
    """The solution of the problem between a measure and itself."""
    chosen, found = (Auto() if solver is None else solver).resolve(problem), None
    if isinstance(chosen, (Sinkhorn, Newton)) and not chosen.gradient._recorded:
        found = Symmetric(tol=chosen.tol, gradient=chosen.gradient)._solve(problem)
    if found is None or found.report.status is Status.MAX_ITER:
        found = dual_solution(problem, solver)
    return Own(found.value, (found.f + found.g).detach() / 2)


def debiased(problem: Linear, xy: DualSolution, xx: Own, yy: Own) -> Float[Tensor, "*b"]:
    """The divergence from the solutions of its three problems, of which ``problem`` is the first."""
    value = xy.value - (xx.value + yy.value) / 2
    if not problem.balanced:
        value = value + problem.epsilon * (problem.source.total - problem.target.total) ** 2 / 2
    with torch.no_grad():
        precise = torch.zeros_like(value)
        for side, cross, own in ((problem.source, xy.f, xx), (problem.target, xy.g, yy)):
            if problem.balanced:
                precise = precise + pairing(side.weights, cross - own.potential)
                continue
            rho = torch.as_tensor(side.rho, dtype=value.dtype, device=value.device)  # type: ignore[attr-defined]
            # Every term is a difference of nearly equal exponentials, here without their cancellation.
            change = torch.expm1((own.potential - cross) / column(rho))
            change = -torch.exp(-own.potential / column(rho)) * change
            precise = precise + (rho + problem.epsilon / 2) * pairing(side.weights, change)
    return value + (precise - value).detach()


def check_entropic(problem: Linear) -> None:
    """Refuse epsilon zero: without entropy there is no bias to remove."""
    if not problem.entropic:
        raise InputError("epsilon must be positive for the Sinkhorn divergence, but is 0: use wasserstein instead.")
