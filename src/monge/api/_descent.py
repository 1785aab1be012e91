"""Descent with a memory of curvature."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

# Pairs that are remembered, and the least curvature, as a share of one, that counts as convex.
_MEMORY, _CONVEX = 10, 1e-8


class Curvature:
    """What past steps tell of the second derivative, and the direction that follows from it.

    Source: Nocedal, Updating quasi-Newton matrices with limited storage (Math. Comp. 35, 1980).
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def learn(self, step: Float[Tensor, "n d"], change: Float[Tensor, "n d"]) -> None:
        """Remember by how much the gradient changed on a step; steps along which it fell are of no use."""
        if bool((step * change).sum() > _CONVEX * step.square().sum()):
            self.pairs = [*self.pairs, (step, change)][-_MEMORY:]

    def direction(self, gradient: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Minus the inverse second derivative times the gradient; minus the gradient as long as nothing is known."""
        rest, shares = gradient, []
        for step, change in reversed(self.pairs):
            shares.append((step * rest).sum() / (step * change).sum())
            rest = rest - shares[-1] * change
        if self.pairs:
            step, change = self.pairs[-1]
            rest = rest * ((step * change).sum() / change.square().sum())
        for (step, change), share in zip(self.pairs, reversed(shares), strict=True):
            rest = rest + step * (share - (change * rest).sum() / (step * change).sum())
        return -rest
