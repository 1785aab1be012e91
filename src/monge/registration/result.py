"""The result of a registration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._value import Value, value

from .correspondence import Goals
from .transformation import Transformation

__all__ = ["Progress", "Registration", "Steps"]

Progress = Callable[[int, int], None]


class Steps:
    """Counts the steps, and reports them if a progress function is given."""

    def __init__(self, progress: Progress | None, most: int):
        self.progress, self.most, self.done = progress, most, 0

    def tell(self) -> None:
        """Count one more step."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.most)


@value
class Registration(Value):
    """A transformation, and the correspondence that it was found from.

    Args:
        transformation: The map from the source to the target.
        goal: Where every source point should go, by the last step.
        weights: How certain this is, between zero (an outlier) and one.
        penalty: The last price of leaving a point without a partner, in squared units of the target: points farther
            apart than about the root of twice this price are not matched.
        iterations: How many steps were made, over all stages.
    """

    transformation: Transformation
    goal: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"]
    penalty: float
    iterations: int

    @classmethod
    def _of(
        cls, transformation: Transformation, goals: Goals, penalty: float, iterations: int, dtype: torch.dtype
    ) -> Registration:
        """What was found, in the precision of the points."""
        goal, weights = goals.place[0].to(dtype), goals.weight[0].to(dtype).clamp_max(1.0)
        return cls(transformation.to(dtype), goal, weights, penalty, iterations)

    @property
    def inliers(self) -> Bool[Tensor, " n"]:
        """The source points that found a partner."""
        return self.weights > 0.5

    @property
    def matched(self) -> Float[Tensor, ""]:
        """How many source points found a partner, counted by their weights."""
        return self.weights.sum()
