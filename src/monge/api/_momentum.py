"""Momentum for a fixed-point map, limited where it fails."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

# The growth of the error at which momentum has failed, and by how much its limit recovers when the error falls.
_GROWTH, _RECOVERY = 5.0, 1.02
# How far the first steps go towards an image, in units of its distance, as long as nothing fails: barycentres then need
# a tenth fewer steps than at one.
_STRIDE, _STRIDES = 1.15, 200


class Momentum:
    """Turns the points and images of a map into better next points.

    The steps since momentum was last given up set its strength, (steps - 1) / (steps + 2). It is given up where it
    leads away from where the map leads; and where the error has grown far above its least, the map goes on from the
    best image, with half as many steps at most. With one step at most it is the map itself.

    Source: O'Donoghue, Candes, Adaptive restart for accelerated gradient schemes (arXiv 1204.3982).
    """

    def __init__(self, start: Float[Tensor, "k n"]) -> None:
        self.last, self.steps, self.limit = start, 0.0, math.inf
        self.least, self.best, self.strides = math.inf, start, _STRIDES

    def next(self, z: Float[Tensor, "k n"], image: Float[Tensor, "k n"], weights: Float[Tensor, "k n"]) -> Tensor:
        """Where to go from z; directions are compared with ``weights``."""
        self.strides = self.strides - 1 if self.limit == math.inf else 0
        if self.strides > 0:
            image = z.lerp(image, _STRIDE)
        ahead = image - self.last
        astray = float(torch.dot((weights * (image - z)).flatten(), ahead.flatten())) < 0
        self.steps = 0.0 if astray else min(self.steps + 1, self.limit)
        self.last = image
        return image.add(ahead, alpha=max(0.0, (self.steps - 1) / (self.steps + 2)))

    def failed(self, image: Float[Tensor, "k n"], error: float) -> bool:
        """Whether the error has grown so far that the map must go on from ``best``."""
        if error > _GROWTH * self.least:
            self.limit = max(1.0, min(self.limit, self.steps or math.inf) / 2)
            self.last, self.steps, self.least = self.best, 0.0, math.inf
            return True
        if error < self.least:
            self.least, self.best, self.limit = error, image, _RECOVERY * self.limit
        return False
