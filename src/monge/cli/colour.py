"""Colour transfer: what ``monge demo`` computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from monge.coupling import Coupling
from monge.problem import Linear, relative
from monge.solver import Sinkhorn, Solution, solve

__all__ = ["Transfer", "transfer"]

EPSILON, RHO = 0.004, 0.2
"""Entropy and price of changing the palette, as fractions of the mean cost between two pixels.

The first is small enough that colours stay vivid, large enough that a sky stays smooth. With the second, a photograph
need not use up all colours of the other one: a sky larger than the flower is still one sky.
"""


@dataclass(frozen=True)
class Transfer:
    """Two photographs in each other's colours, and the one solution that moved both."""

    source: Float[Tensor, "h w 3"]
    target: Float[Tensor, "k l 3"]
    solution: Solution


def transfer(
    source: Float[Tensor, "h w 3"],
    target: Float[Tensor, "k l 3"],
    *,
    pixels: int,
    generator: torch.Generator,
) -> Transfer:
    r"""Move the colours of each photograph onto the other by one unbalanced entropic plan between samples of pixels.

    The plan is solved between ``pixels`` random pixels a side. Its map moves all pixels, most of which it has not seen;
    see `monge.coupling.TransportMap`. Everything is streamed.

    Args:
        source: A photograph, in [0, 1].
        target: Another one.
        pixels: How many pixels of each the plan is solved between.
        generator: Source of randomness of the sample.
    """
    x, y = _sample(source, pixels, generator), _sample(target, pixels, generator)
    solution = _solve(x, y)
    plan = solution.coupling
    return Transfer(_moved(plan, source), _moved(plan.T, target), solution)


def _solve(x: Tensor, y: Tensor) -> Solution:
    balanced = Linear.between(x, y)
    mean = float(balanced.geometry.mean(balanced.a, balanced.b))
    problem = Linear.between(balanced.geometry, rho=RHO * mean, epsilon=relative(EPSILON))
    # A photograph has 256 levels: a hundredth of the mass in the wrong place is not seen.
    return solve(problem, Sinkhorn(tol=1e-2))


def _sample(image: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    every = image.reshape(-1, 3)
    return every[torch.randperm(len(every), generator=generator)[:pixels]]


def _moved(plan: Coupling, image: Tensor) -> Tensor:
    return plan.map(image.reshape(-1, 3)).reshape(image.shape)
