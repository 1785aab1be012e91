"""The loop of Newton's method on the semi-dual: annealing, truncated steps, and plain ascent where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.problem.marginal import column

from ._ascent import Ascent, Sweep
from ._direction import newton_direction
from ._iterate import Iterate, resolvable

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["climb"]

# Epsilon falls by this factor once the marginal error at the present one is below this.
_LEVEL_FACTOR = 4.0
_LEVEL_ERROR = 0.02
# Above this error plain sweeps are better than any step. A refused step is cut by this factor until it is this short,
# and then plain sweeps lead elsewhere.
_FAR = 0.5
_CUT = 4.0
_SHORTEST = 1 / 20
_PLAIN_SWEEPS = 5


def climb(
    problem: Linear, g: Float[Tensor, "*b m"], epsilon: Float[Tensor, "*b"], *, tol: float, max_iter: int
) -> Iterate:
    """Climb from g until the column error is below ``tol``, while epsilon falls to that of the problem."""
    climber = _Climber(problem, g, epsilon)
    ended: Iterate | None = None
    for k in range(1, max_iter + 1):
        held, final = climber.step(last=k == max_iter)
        floor = resolvable(held.last, held.image, climber.target)
        settled = final & (held.error <= floor.clamp(min=tol))
        now = Iterate(held.last, held.image, torch.full_like(climber.plain, k), settled)
        ended = now if ended is None else _keep(ended, now)
        if bool(ended.settled.all()):
            break
        climber.open = ~ended.settled
    assert ended is not None
    return ended


def _keep(ended: Iterate, now: Iterate) -> Iterate:
    """What has settled stays, the rest is as it is now."""
    f, g, iterations, settled = ended
    wide = settled[..., None]
    return Iterate(
        torch.where(wide, f, now.f),
        torch.where(wide, g, now.g),
        torch.where(settled, iterations, now.iterations),
        settled | now.settled,
    )


class _Climber:
    """The state of a batch of problems, each at its own epsilon and with a step of its own."""

    def __init__(self, problem: Linear, g: Tensor, epsilon: Tensor) -> None:
        self.problem, self.ascent = problem, Ascent(problem)
        self.target, self.epsilon = problem.epsilon.broadcast_to(problem.batch_shape), epsilon
        self.open: Bool[Tensor, "*b"] = torch.ones_like(epsilon, dtype=torch.bool)
        # The point to try next, and whether it is taken whatever its dual value.
        self.point, self.trusted = g, self.open
        self.held: Sweep | None = None
        # The Newton step that is being tried, its length, and how many plain sweeps are still due.
        self.direction, self.length = torch.zeros_like(g), torch.zeros_like(epsilon)
        self.plain = torch.zeros_like(epsilon, dtype=torch.long)
        # The solution at the epsilon before this one; the same epsilon means that there is none.
        self.before, self.epsilon_before = g, epsilon

    def step(self, *, last: bool) -> tuple[Sweep, Bool[Tensor, "*b"]]:
        """One sweep; what is held after it, and whether that is at the target epsilon."""
        if last and self.held is not None:
            # Whatever is returned belongs to the epsilon that was asked for.
            self.point, self.trusted = self.held.image, torch.ones_like(self.trusted)
        self.epsilon = self.target if last else self.epsilon
        sweep, accepted = self.ascent.sweep(self.point, self.epsilon), self.trusted
        if self.held is not None:
            slack = 10 * torch.finfo(self.point.dtype).eps * self.held.dual.abs().clamp(min=self.target)
            accepted = accepted | (sweep.dual >= self.held.dual - slack)
            sweep = Sweep(*(_choose(accepted, new, old) for new, old in zip(sweep, self.held, strict=True)))
        self.held, final = sweep, self.epsilon <= self.target
        self._propose(sweep, accepted, final)
        return sweep, final

    def _propose(self, held: Sweep, accepted: Tensor, final: Tensor) -> None:
        """Choose the next point of each problem: a lower epsilon, a plain sweep, or a Newton step."""
        lower = ~final & (held.error <= _LEVEL_ERROR)
        newton = ~lower & (self.plain == 0) & (held.error <= _FAR)
        self.length = torch.where(accepted, 1.0, self.length / _CUT)
        if bool((self.open & newton & accepted).any()):
            direction = newton_direction(self.ascent, held, self.epsilon)
            self.direction = _choose(accepted, direction, self.direction)
        point = held.g + column(self.length) * self.direction
        lost = newton & ((self.length < _SHORTEST) | ~point.isfinite().all(-1))
        newton = newton & ~lost
        self.plain = torch.where(lost, _PLAIN_SWEEPS, (self.plain - 1).clamp(min=0))
        start = self._lowered(held.image, lower)
        point = _choose(newton, point, _choose(lower, start, held.image))
        self.point, self.trusted = self.problem.target._project(point), ~newton

    def _lowered(self, image: Tensor, lower: Tensor) -> Float[Tensor, "*b m"]:
        """Where to start at the next epsilon: g / epsilon is nearly a straight line in 1 / epsilon."""
        now, before = self.epsilon, self.epsilon_before
        following = torch.where(lower, torch.maximum(now / _LEVEL_FACTOR, self.target), now)
        run = torch.where(before == now, 1.0, 1 / now - 1 / before)
        share = torch.where(before == now, 0.0, (1 / following - 1 / now) / run)
        slope = image / column(now) - self.before / column(before)
        start = column(following) * (image / column(now) + column(share) * slope)
        self.before, self.epsilon_before = _choose(lower, image, self.before), torch.where(lower, now, before)
        self.epsilon = following
        return torch.where(start.isfinite(), start, image)


def _choose(where: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """``torch.where`` for one flag per problem."""
    return torch.where(where if first.ndim == where.ndim else where[..., None], first, second)
