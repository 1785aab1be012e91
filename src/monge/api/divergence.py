"""The debiased Sinkhorn divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge.errors import InputError
from monge.problem import Linear
from monge.problem.marginal import pairing
from monge.solver import DualSolution, Sinkhorn, Solver, solve

from ._pose import pose

__all__ = ["divergence"]


def divergence(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    epsilon: float | Tensor = 0.05,
    rho: float | Tensor | None = None,
    solver: Solver | None = None,
) -> Float[Tensor, "*b"]:
    r"""The Sinkhorn divergence: entropic transport without its bias.

    $$S_\epsilon(\mu, \nu) = \mathrm{OT}_\epsilon(\mu, \nu) - \tfrac12\mathrm{OT}_\epsilon(\mu, \mu)
    - \tfrac12\mathrm{OT}_\epsilon(\nu, \nu) \;[+ \tfrac\epsilon2 (|\mu| - |\nu|)^2]$$
    Non-negative for powers p in [1, 2] of the Euclidean distance, zero only for equal measures, with a smooth gradient:
    the loss between point clouds. The value is computed from differences of potentials, which do not cancel; the
    gradient is the envelope's.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Weights of `x`, 1/n each if None.
        b: Weights of `y`; of the same mass unless ``rho`` is given.
        cost: As in `PointCloud`.
        epsilon: Strength of the entropy, > 0, in units of the cost, the same for all three terms.
        rho: Price of missing a marginal (KL), or None for fixed marginals.
        solver: An entropic solver; `Sinkhorn` if None.

    Returns:
        One divergence per problem.

    Source:
        Feydy et al., Interpolating between optimal transport and MMD using Sinkhorn divergences (arXiv 1810.08278);
        Sejourne et al., Sinkhorn divergences for unbalanced optimal transport (arXiv 1910.12958).

    Example:
        >>> import torch
        >>> import monge
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> monge.divergence(x, x).abs() < 1e-6
        tensor(True)
    """
    solver = Sinkhorn() if solver is None else solver

    def between(one: Tensor, other: Tensor, w: Tensor | None, u: Tensor | None) -> tuple[Linear, DualSolution]:
        problem = pose(one, other, w, u, cost=cost, epsilon=epsilon, rho=rho)
        if not problem.entropic:
            raise InputError("epsilon must be positive for the Sinkhorn divergence, but is 0: use wasserstein.")
        return problem, solve(problem, solver)  # type: ignore[return-value]

    problem, xy = between(x, y, a, b)
    _, xx = between(x, x, a, a)
    _, yy = between(y, y, b, b)
    value = xy.value - (xx.value + yy.value) / 2
    weights = problem.a.detach(), problem.b.detach()
    own_x, own_y = ((s.f.detach() + s.g.detach()) / 2 for s in (xx, yy))
    f, g = xy.f.detach(), xy.g.detach()
    if rho is None:
        precise = pairing(weights[0], f - own_x) + pairing(weights[1], g - own_y)
    else:
        mass = problem.epsilon * (problem.source.total - problem.target.total) ** 2 / 2
        value = value + mass
        precise = _unbalanced(problem, weights, (f, own_x), (g, own_y))
    return value + (precise - value).detach()


def _unbalanced(problem: Linear, weights: tuple[Tensor, Tensor], fs: Any, gs: Any) -> Tensor:
    """The divergence from potentials: every term is a difference of nearly equal exponentials."""
    total = torch.zeros((), dtype=weights[0].dtype, device=weights[0].device)
    for side, weight, (cross, own) in ((problem.source, weights[0], fs), (problem.target, weights[1], gs)):
        rho = side.rho.detach() if isinstance(side.rho, Tensor) else torch.as_tensor(side.rho)  # type: ignore[union-attr]
        scale, epsilon = rho[..., None], problem.epsilon.detach()
        change = -(-own / scale).exp() * torch.expm1((own - cross) / scale)
        total = total + (rho + epsilon / 2) * (weight * change).sum(-1)
    return total
