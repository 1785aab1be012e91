"""The loop of Newton's method on the semi-dual: annealing, bounded steps accepted from both sides, and safe ground."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.dual import Iteration
from monge.problem import Linear
from monge.problem.marginal import column, pairing

from ._loop import Goal, Iterate, Leaving, Loop, choose, drive, plain_from
from ._newton_direction import newton_direction
from ._sinkhorn_loop import sinkhorn_loop

# Epsilon falls by this factor once the marginal error at the present one is below this.
_LEVEL_FACTOR = 2.0
_LEVEL_ERROR = 0.003
# Above this error plain iterations are better than any step, and so they are while each leaves less than this share of
# it.
_FAR = 0.5
_FAST = 0.5
# A refused step is cut by this factor until it is this short. Then a plain iteration leads elsewhere, and if the next
# step fares no better twice as many, up to a number: they find out which potentials sit on a kink.
_CUT = 4.0
_SHORTEST = 1 / 20
_LARGEST_DOSE = 16
# The longest step, in units of epsilon; after so many in a row that were shortened as a whole, each component is
# shortened by itself, since one far column would hold all others.
_BOUND = 10.0
_PATIENT = 3
# The ridge is this share of the error: at first, at least, at most; a good step divides it, a given up one multiplies.
_RIDGE, _LEAST_RIDGE, _LARGEST_RIDGE, _RIDGE_FACTOR = 0.01, 1e-9, 1.0, 8.0
# The share of the promised gain that a step must bring, and the one that makes it good.
_ENOUGH, _GOOD = 1e-4, 0.3
# Above this share the dual is a straight line along the step, and up to so many bounds may be gone at once.
_STRAIGHT, _FARTHEST = 0.9, 1024.0
# Iterations within which the error of a level must halve. After so many at one level the way there was too long: half
# of it, on a scale of logarithms, is gone first, unless the level before is nearer than this.
_STALLED = 60
_LOST, _NEAR = 30, 1.1


def newton_loop(
    problem: Linear, g: Float[Tensor, "*b m"], epsilon: Float[Tensor, "*b"], *, goal: Goal, max_iter: int
) -> Iterate:
    """Climb from g until the column error meets the goal, while epsilon falls to that of the problem.

    A problem on which Newton's method stalls goes on by accelerated ascent, with what is left of the budget.
    """
    loop = _NewtonLoop(problem, g, epsilon, goal)
    ended = drive(loop, max_iter)
    stalled = ~ended.settled & (ended.iterations < max_iter)
    if not bool(stalled.any()):
        return ended
    index = stalled.nonzero(as_tuple=True) if stalled.ndim else ()
    left = max_iter - int(ended.iterations[index].max())
    rest = problem._select(index) if index else problem
    again = Goal(goal.tol[index], goal.floor[index])
    # Half way back up in epsilon, on a scale of logarithms, its annealing begins.
    start = (loop.first[index] * rest.epsilon).sqrt()
    end = sinkhorn_loop(rest, ended.g[index], start, goal=again, max_iter=left, accelerate=True)
    end = end._replace(iterations=end.iterations + ended.iterations[index])
    if not index:
        return end
    return Iterate(*(whole.index_put(index, part) for whole, part in zip(ended, end, strict=True)))


class _NewtonLoop(Loop):
    """The state of a batch of problems, each at its own epsilon and with a step of its own."""

    def __init__(self, problem: Linear, g: Tensor, epsilon: Tensor, goal: Goal) -> None:
        super().__init__(problem, goal)
        self.epsilon, self.first = epsilon, epsilon
        none, one, never = torch.zeros_like(g), torch.ones_like(epsilon), torch.zeros_like(self.open, dtype=torch.long)
        # The point to try next, and whether it is taken whatever it brings.
        self.point, self.trusted, self.plain = g, self.open, ~self.open
        self.held: Iteration | None = None
        # The Newton step that is being tried, the gradient at its foot, its length, the share of its ridge, and how
        # many steps in a row were shortened.
        self.direction = self.gradient = none
        self.length, self.ridge, self.reach, self.shortened = 0 * one, _RIDGE * one, one, never
        # Plain iterations still to come, and how many follow the next step that is given up.
        self.due, self.dose = never, never + 1
        # What a plain iteration leaves of the error; what has to halve at this level, and for how long it has not.
        self.rate, self.level_best, self.level_since, self.level_age = 0 * one, torch.inf * one, never, never
        # The solution at the epsilon before this one, and how g / epsilon has changed with 1 / epsilon since; the same
        # epsilon means that there is none.
        self.before, self.drift, self.epsilon_before = g, none, epsilon

    def step(self, k: int, max_iter: int) -> Leaving:
        """One iteration, and the next point of each problem that goes on."""
        hurried = (self.epsilon > self.target) & (k >= plain_from(max_iter))
        if self.held is not None and bool(hurried.any()):
            # Whatever is returned belongs to the epsilon that was asked for.
            self.point = choose(hurried, self.held.image, self.point)
            self.trusted = self.trusted | hurried
            self.epsilon = torch.where(hurried, self.target, self.epsilon)
        held, accepted, gain = self._tried()
        self.held, final = held, self.epsilon <= self.target
        settled = self.goal.met(held.error, self.ascent.rounding(held.last, held.image, self.target), final)
        self._propose(held, accepted, gain, final)
        stalled = (self.level_since > _STALLED) & (k < plain_from(max_iter))
        return Leaving(settled | stalled, settled, held.last, held.image)

    def potentials(self) -> tuple[Tensor, Tensor]:
        """The best potentials so far."""
        if self.held is None:
            return self.point.new_zeros((*self.problem.batch_shape, self.problem.shape[0])), self.point
        return self.held.last, self.held.image

    def _tried(self) -> tuple[Iteration, Tensor, Tensor]:
        """What is held after an iteration from the point, where that was taken, and the share of the promised gain.

        The semi-dual is concave: a step gains no more than its gradient promises. What seems to is rounding, as it is
        where columns of no mass have run away, and is never progress.
        """
        iteration, held = self.ascent.iteration(self.point, self.epsilon), self.held
        if held is None:
            return iteration, self.trusted, torch.zeros_like(self.length)
        value, doubt = self.ascent.semidual(iteration, self.epsilon)
        old, old_doubt = self.ascent.semidual(held, self.epsilon)
        gain, slack = value - old, torch.maximum(doubt, old_doubt)
        moved = torch.where(self.gradient == 0, 0.0, self.gradient * (iteration.g - held.g))
        promised = moved.sum(-1)
        rises = (gain >= _ENOUGH * promised) & (gain <= promised + slack) & (promised > 0)
        rests = (gain.abs() <= slack) & (iteration.error <= held.error)
        accepted = self.trusted | ((rises | rests) & iteration.error.isfinite())
        self.rate = torch.where(self.plain & (held.error > 0), iteration.error / held.error, self.rate)
        share = torch.where(accepted & ~self.trusted & (promised > 0), gain / promised, 0.0)
        held = Iteration(*(choose(accepted, new, kept) for new, kept in zip(iteration, held, strict=True)))
        return held, accepted, share

    def _propose(self, held: Iteration, accepted: Tensor, share: Tensor, final: Tensor) -> None:
        """Choose the next point of each problem: a lower epsilon, a plain iteration, or a Newton step."""
        floor = torch.minimum(self.ascent.rounding(held.last, held.image, self.epsilon), self.goal.floor)
        lower = ~final & (held.error <= floor.clamp(min=_LEVEL_ERROR))
        full = accepted & ~self.trusted & (self.length == 1) & (share > _GOOD)
        self.ridge = torch.where(full, (self.ridge / _RIDGE_FACTOR).clamp(min=_LEAST_RIDGE), self.ridge)
        # Where a shortened step found a straight line, the next may go farther.
        straight = full & (share > _STRAIGHT) & (self.shortened > 0)
        self.reach = torch.where(straight, (2 * self.reach).clamp(max=_FARTHEST), torch.where(full, self.reach, 1.0))
        self.length = torch.where(accepted, 1.0, self.length / _CUT)
        given_up = ~accepted & (self.length < _SHORTEST)
        quick = self.trusted & (self.rate < _FAST)
        self.due = torch.where(given_up, self.dose, torch.where(lower, 0, (self.due - 1).clamp(min=0)))
        self.dose = torch.where(given_up, (2 * self.dose).clamp(max=_LARGEST_DOSE), torch.where(full, 1, self.dose))
        newton = ~lower & (self.due == 0) & ~quick & (held.error <= _FAR)
        if bool((self.open & newton & accepted).any()):
            newton = newton & ~(self._aim(held, accepted & newton) & accepted)
        self.ridge = torch.where(given_up, (self.ridge * _RIDGE_FACTOR).clamp(max=_LARGEST_RIDGE), self.ridge)
        self._count(held, lower)
        point = self.problem.target._project(held.g + column(self.length) * self.direction)
        newton = newton & point.isfinite().all(-1)
        start, elsewhere = self._continued(held.image, lower)
        self.point = choose(elsewhere, start, choose(newton, point, held.image))
        self.trusted, self.plain = ~newton | elsewhere, ~newton & ~elsewhere

    def _aim(self, held: Iteration, where: Tensor) -> Bool[Tensor, "*b"]:
        """A new direction for the problems ``where``; which of them found none."""
        step = newton_direction(self.ascent, held, self.epsilon, self.ridge)
        d = step.direction
        if self.problem.balanced:
            d = d - column(pairing(self.problem.b, d) / self.problem.target.total)
        longest = torch.where(self.problem.b > 0, d, 0.0).abs().amax(-1)
        bound = _BOUND * self.reach * self.epsilon
        far = longest > bound
        scaled = d * column(torch.where(far, bound / longest, 1.0))
        clipped = d.clamp(-column(bound), column(bound))
        patient = far & (self.shortened >= _PATIENT) & ((step.gradient * clipped).sum(-1) > 0)
        d = choose(patient, clipped, scaled)
        self.shortened = torch.where(where, torch.where(far, self.shortened + 1, 0), self.shortened)
        gradient = (step.gradient * d).sum(-1)
        self.direction = choose(where, d, self.direction)
        self.gradient = choose(where, step.gradient, self.gradient)
        return ~(d.isfinite().all(-1) & (gradient > 0) & step.sound)

    def _count(self, held: Iteration, lower: Tensor) -> None:
        """For how long the error of this level has not halved."""
        halved = lower | (held.error <= self.level_best / 2)
        self.level_best = torch.where(lower, torch.inf, torch.where(halved, held.error, self.level_best))
        self.level_since = torch.where(halved, 0, self.level_since + 1)
        self.level_age = torch.where(lower, 0, self.level_age + 1)

    def _continued(self, image: Tensor, lower: Tensor) -> tuple[Float[Tensor, "*b m"], Bool[Tensor, "*b"]]:
        """Where to start at the next epsilon, for those that leave the present one.

        g / epsilon is nearly a straight line in 1 / epsilon. Where that line led too far to come back from, half of
        the way is gone first.
        """
        now, before = self.epsilon, self.epsilon_before
        run = torch.where(before == now, 1.0, 1 / now - 1 / before)
        drift = (image / column(now) - self.before / column(before)) / column(run)
        drift = torch.where(drift.isfinite() & column(before != now), drift, 0.0)
        self.before, self.drift = choose(lower, image, self.before), choose(lower, drift, self.drift)
        self.epsilon_before = before = torch.where(lower, now, before)
        back = ~lower & (self.level_age > _LOST) & (before > _NEAR * now)
        self.epsilon = torch.where(lower, torch.maximum(now / _LEVEL_FACTOR, self.target), now)
        self.epsilon = torch.where(back, (now * before).sqrt(), self.epsilon)
        self.level_age, self.level_since = (torch.where(back, 0, held) for held in (self.level_age, self.level_since))
        self.level_best = torch.where(back, torch.inf, self.level_best)
        ahead = column(1 / self.epsilon - 1 / before) * self.drift
        start = column(self.epsilon) * (self.before / column(before) + ahead)
        return self.problem.target._project(torch.where(start.isfinite(), start, image)), lower | back
