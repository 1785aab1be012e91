"""One small problem of every kind, to test a solver with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge.geometry import CostMatrix, Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed

__all__ = ["transport_problems"]


def transport_problems(*, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Linear]:
    """Linear problems of a few points, by name: exact and entropic, balanced and unbalanced, with difficult cases.

    Args:
        dtype: The dtype of all numbers.
        seed: Seed of the random numbers.

    Returns:
        The problems; a solver treats those of them that it supports.

    Example:
        >>> from monge.solver import Sorted
        >>> from monge.testing import transport_problems
        >>> [name for name, problem in transport_problems().items() if Sorted().supports(problem).supported]
        ['exact, on a line']
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def weights(*shape: int, absent: bool = False) -> Tensor:
        drawn = draw(*shape) + 0.1
        if absent:
            drawn[..., 1] = 0
        return drawn / drawn.sum(-1, keepdim=True)

    def cloud(*batch: int, n: int = 5, m: int = 4) -> PointCloud:
        return PointCloud(draw(*batch, n, 2), draw(*batch, m, 2))

    forbidding = draw(5, 4)
    forbidding[0, 1] = forbidding[3, 0] = math.inf
    a, b = weights(5), weights(4)
    return {
        "exact": Linear(cloud(), a, b),
        "exact, equal weights": Linear(cloud(m=5)),
        "exact, on a line": Linear(Line(draw(5), draw(4)), a, b),
        "exact, batch": Linear(cloud(2), weights(2, 5), weights(2, 4)),
        "exact, absent points": Linear(cloud(), weights(5, absent=True), weights(4, absent=True)),
        "exact, forbidden pairs": Linear(CostMatrix(forbidding)),
        "exact, a part of the mass": Linear(cloud(), AtMost(a), AtMost(b), mass=0.6),
        "entropic": Linear(cloud(), a, b, epsilon=0.2),
        "entropic, one source": Linear(cloud(n=1), None, b, epsilon=0.2),
        "entropic, batch": Linear(
            cloud(2), weights(2, 5), weights(2, 4), epsilon=torch.tensor([0.1, 0.5], dtype=dtype)
        ),
        "entropic, absent points": Linear(cloud(), weights(5, absent=True), weights(4, absent=True), epsilon=0.2),
        "entropic, forbidden pairs": Linear(CostMatrix(forbidding), epsilon=0.2),
        "entropic, a part of the mass": Linear(cloud(), AtMost(a), AtMost(b), epsilon=0.2, mass=0.6),
        "entropic, relaxed": Linear(cloud(), Relaxed(a, 0.5), Relaxed(1.5 * b, 0.5), epsilon=0.2),
        "entropic, one side relaxed": Linear(cloud(), Relaxed(a, 0.3, "tv"), b, epsilon=0.2),
    }
