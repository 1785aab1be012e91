"""The loop of block ascent: annealing, safeguarded acceleration and stopping, for each problem on its own."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge.dual import Ascent
from monge.problem import Linear
from monge.problem.marginal import column

from ._anderson import Anderson
from ._loop import Goal, Iterate, Leaving, Loop, drive, plain_from

# Iterations at each epsilon on the way down, and the factor between one and the next.
_LEVEL_ITERATIONS = 3
_LEVEL_FACTOR = 4.0
# One jump in three iterations, with a memory of eight, is as fast as a jump in each, and safer.
_JUMP_EVERY = 3
_MEMORY = 8


def sinkhorn_loop(
    problem: Linear,
    g: Float[Tensor, "*b m"],
    epsilon: Float[Tensor, "*b"],
    *,
    goal: Goal,
    max_iter: int,
    accelerate: bool,
    ascent: Ascent | None = None,
) -> Iterate:
    """Ascend from g until the column error meets the goal, while epsilon falls to that of the problem.

    A problem that is done leaves the batch: it waits for no other, and no other changes it. ``ascent`` is the map from
    one potential to the next, if not the streamed one.
    """
    loop = _SinkhornLoop(problem, g, epsilon, goal, accelerate)
    loop.ascent = ascent or loop.ascent
    return drive(loop, max_iter)


class _SinkhornLoop(Loop):
    """The state of the problems that are still in the loop."""

    def __init__(self, problem: Linear, g: Tensor, epsilon: Tensor, goal: Goal, accelerate: bool) -> None:
        super().__init__(problem, goal)
        self.accelerate, self.epsilon, self.g = accelerate, epsilon, g
        self.memory = Anderson(problem.b.expand_as(g), _MEMORY)
        # The best pair so far, whose second half is the point to fall back to, and the dual value to hold.
        self.f_held, self.g_held = g.new_zeros((*problem.batch_shape, problem.shape[0])), g
        self.guard = torch.full_like(epsilon, -math.inf)
        # Whether g is a jump that still has to prove itself, and iterations since epsilon or that proof last failed.
        self.jumped = torch.zeros_like(self.open)
        self.age = torch.zeros_like(self.open, dtype=torch.long)

    def step(self, k: int, max_iter: int) -> Leaving | None:
        """One iteration, who is done with it, and the next point."""
        if k >= plain_from(max_iter):
            # Whatever is returned belongs to the epsilon that was asked for.
            self.epsilon = self.target
        iteration = self.ascent.iteration(self.g, self.epsilon)
        final = self.epsilon <= self.target
        # In exact arithmetic plain ascent keeps the dual value, so a jump must too; rounding is forgiven.
        slack = 10 * torch.finfo(self.g.dtype).eps * iteration.dual.abs().clamp(min=self.target)
        refused = self.jumped & ~(iteration.dual >= self.guard - slack)
        held = column(refused)
        self.f_held = torch.where(held, self.f_held, iteration.last)
        self.g_held = torch.where(held, self.g_held, iteration.image)
        self.guard = torch.where(refused, self.guard, torch.where(final, iteration.dual, -math.inf))
        self.age = torch.where(refused, 0, self.age + 1)
        self.g, self.jumped = self.g_held, torch.zeros_like(self.jumped)
        if self.accelerate:
            self._jump(iteration.g, iteration.image, final & ~refused)
        falls = ~final & (self.age == _LEVEL_ITERATIONS)
        lower = torch.maximum(self.epsilon / _LEVEL_FACTOR, self.target)
        self.epsilon = torch.where(falls, lower, self.epsilon)
        self.age = torch.where(falls, 0, self.age)
        # Reading a flag waits for an accelerator to finish its work, so it is not done at every step there.
        if k % (1 if self.g.device.type == "cpu" else 10):
            return None
        floor = self.ascent.rounding(iteration.last, iteration.image, self.target)
        settled = self.goal.met(iteration.error, floor, final & ~refused)
        return Leaving(settled, settled, iteration.last, iteration.image)

    def _jump(self, g: Tensor, image: Tensor, where: Tensor) -> None:
        """Every few iterations, go on from a mixture of the last points."""
        self.memory.remember(g, image, where)
        self.jumped = where & (self.age % _JUMP_EVERY == 0)
        if bool(self.jumped.any()):
            mixed = self.problem.target._project(self.memory.mix())
            self.jumped = self.jumped & mixed.isfinite().all(-1)
            self.g = torch.where(column(self.jumped), mixed, self.g)

    def potentials(self) -> tuple[Tensor, Tensor]:
        """The best potentials so far."""
        return self.f_held, self.g_held
