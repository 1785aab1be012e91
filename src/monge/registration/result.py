"""What a registration hands back."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from monge._value import Value, value

from .transformation import Transformation

__all__ = ["Registration"]


@value
class Registration(Value):
    """A transformation and what speaks for it.

    Args:
        transformation: The map from the source to the target.
        goal: Where every source point should have gone at the last step.
        weights: How sure that is, between zero (an outlier) and one.
        penalty: The last price of leaving a point, in squared units of the target: pairs farther apart than about
            the root of twice that are none.
        iterations: How many steps were made, over all stages.
    """

    transformation: Transformation
    goal: Float[Tensor, "n d"]
    weights: Float[Tensor, " n"]
    penalty: float
    iterations: int

    @property
    def inliers(self) -> Bool[Tensor, " n"]:
        """The source points that found a partner."""
        return self.weights > 0.5

    @property
    def matched(self) -> Float[Tensor, ""]:
        """How many source points found a partner, counted by their weights."""
        return self.weights.sum()
