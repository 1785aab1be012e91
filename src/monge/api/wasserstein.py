"""The Wasserstein distance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number
from monge._transforms import transformable
from monge.problem.epsilon import Relative
from monge.solver import Solver

from ._answer import answer
from ._pose import distance_cloud, pose

__all__ = ["wasserstein"]


@transformable
def wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    p: float = 2.0,
    epsilon: float | Tensor | Relative = 0.0,
    solver: Solver | None = None,
) -> Float[Tensor, "*b"]:
    r"""The p-Wasserstein distance, rooted.

    $$W_p(\mu, \nu) = \Big(\min_P \sum_{ij} P_{ij} \lVert x_i - y_j\rVert_2^p\Big)^{1/p}$$
    For epsilon > 0 the root of the transport cost of the entropic plan, an upper bound (`divergence` has no such bias).
    Where the distance is zero its root has no slope; the gradient is taken to be zero there, which is finite and a
    subgradient. Close to zero the gradient of $W_p$ is still large for p > 1: as a loss, take the p-th power.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Weights of `x`, 1/n each if None.
        b: Weights of `y`, of the same mass.
        p: Order, at least 1.
        epsilon: Strength of the entropy, or `relative`; zero is exact.
        solver: How to solve; None chooses.

    Returns:
        One distance per problem.

    Raises:
        InputError: If an argument is wrong; the message says which, why, and what to do.
        InfeasibleError: If the masses differ.

    Example:
        >>> import torch
        >>> import monge
        >>> monge.wasserstein(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor(5.)
    """
    check_number("p", p, low=1.0, high=1e6)
    problem = pose(distance_cloud(x, y, p), None, a, b, epsilon=epsilon)
    solution = answer(problem, solver)
    cost = solution.coupling.transport_cost() if problem.entropic else solution.value
    positive = cost > 0
    safe = torch.where(positive, cost, torch.ones_like(cost))
    return torch.where(positive, safe ** (1 / p), torch.zeros_like(cost))
