"""The result of a registration."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._value import Value, value
from monge.coupling import Coupling

from .correspondence import Goals
from .transformation import Rigid, Transformation

__all__ = ["Progress", "Registration", "RigidRegistration", "Steps", "Verdict"]

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


class Verdict(Enum):
    """Whether a rigid motion can be trusted.

    Example:
        >>> Verdict.AMBIGUOUS.ok
        False
    """

    SURE = "Sure: no other motion that was found explains the clouds nearly as well."
    REFINED = "Refined: this is the best motion near start; no other motion was looked for."
    AMBIGUOUS = "Ambiguous: another motion, runner_up, explains the clouds nearly as well; look at both."
    FAILED = "Failed: too few points have a partner; remove clutter, or pass a motion close to the right one as start."

    @property
    def ok(self) -> bool:
        """Whether there is no reason for doubt."""
        return self in (Verdict.SURE, Verdict.REFINED)


@value
class RigidRegistration(Registration):
    """A rigid motion, and how far it can be trusted.

    Args:
        transformation: The motion from the source to the target.
        goal: Where every source point should go, by the plan.
        weights: The probability of every source point that it has a partner.
        penalty: The price of leaving a point without a partner, in squared units of the target.
        iterations: How many steps were made, over all stages.
        plan: The entropic partial plan between the moved source and the target; a point gives or takes at most one.
        target_weights: The probability of every target point that it has a partner.
        fitness: The matched shares of the source and of the target.
        rmse: The root mean square distance of matched points from the nearest point of the other cloud, in units of
            the target.
        margin: How much more this motion gains than the best one that is clearly different, in nats per point of
            either cloud, added over the clouds; inf where there is no other one.
        runner_up: The best motion that is clearly different; the same motion where there is no other one.
        verdict: What follows from the margin and the fitness.

    Example:
        >>> import torch
        >>> from monge.registration import rigid
        >>> x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
        >>> found = rigid(x, x[:80], generator=torch.Generator().manual_seed(0))
        >>> found.verdict.name, bool(found.margin > 1), bool((found.fitness[1] > 0.9))
        ('SURE', True, True)
    """

    transformation: Rigid
    plan: Coupling
    target_weights: Float[Tensor, " m"]
    fitness: Float[Tensor, "2"]
    rmse: float
    margin: float
    runner_up: Rigid
    verdict: Verdict

    @property
    def converged(self) -> bool:
        """Whether the verdict leaves no doubt."""
        return self.verdict.ok
