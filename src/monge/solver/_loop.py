"""What every iteration on a batch shares: a problem leaves when it is done, waits for no other, and changes none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import Self

from monge._progress import Progress
from monge.dual import Ascent, Iteration
from monge.problem import Linear

# The last part of a budget is spent at the epsilon that was asked for, however far the annealing has come.
_LAST_SHARE, _LAST_ITERATIONS = 20, 10
# Iterations without a better error after which an error at the floor of rounding stays there.
_NO_BETTER = 5


class Iterate(NamedTuple):
    """Where a loop ended, for each problem.

    Args:
        f: Potential of the rows.
        g: Potential of the columns.
        iterations: Iterations spent.
        settled: Whether the tolerance, or the floor of rounding, was reached.
    """

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    iterations: Int[Tensor, "*b"]
    settled: Bool[Tensor, "*b"]


class Leaving(NamedTuple):
    """Which problems leave a loop after a step, which of them settled, and the potentials they take along."""

    who: Bool[Tensor, "*b"]
    settled: Bool[Tensor, "*b"]
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]


class State:
    """What belongs to the problems of a batch, attribute by attribute, so that some of them can go on alone."""

    def _select(self, index: tuple[Tensor, ...]) -> Self:
        """The state of some of the problems."""
        chosen = object.__new__(type(self))
        for name, held in vars(self).items():
            setattr(chosen, name, _selected(held, index))
        return chosen


def _selected(held: Any, index: tuple[Tensor, ...]) -> Any:
    if isinstance(held, Tensor):
        return held[index]
    if isinstance(held, list):
        return [_selected(item, index) for item in held]
    if isinstance(held, Iteration):
        return Iteration(*(part[index] for part in held))
    return held._select(index) if hasattr(held, "_select") else held


class Loop(State, ABC):
    """The state of the problems that are still in a loop."""

    def __init__(self, problem: Linear, goal: Goal) -> None:
        self.ascent, self.goal = Ascent(problem), goal
        self.target = problem.epsilon.broadcast_to(problem.batch_shape)
        self.open: Bool[Tensor, "*b"] = torch.ones_like(self.target, dtype=torch.bool)

    @property
    def problem(self) -> Linear:
        """The problems that are still there."""
        return self.ascent.problem

    @abstractmethod
    def step(self, k: int, max_iter: int) -> Leaving | None:
        """Iteration k; None if nobody was asked whether it is done."""

    @abstractmethod
    def potentials(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        """The best potentials so far."""


class Goal(State):
    """When a problem is done: below its tolerance, or at the floor of rounding and no better for a while.

    Args:
        tol: The error to reach, one number per problem.
        floor: The error that rounding of the costs explains, likewise; what rounding of an iterate explains beyond
            that is the fault of the iterate.
    """

    def __init__(self, tol: Float[Tensor, "*b"], floor: Float[Tensor, "*b"]) -> None:
        self.tol, self.floor = tol, floor
        self.best = torch.full_like(tol, torch.inf)
        self.since = torch.zeros_like(tol, dtype=torch.long)

    def met(self, error: Float[Tensor, "*b"], floor: Float[Tensor, "*b"], final: Bool[Tensor, "*b"]) -> Tensor:
        """Whether the error of this iteration, made at the target where ``final``, is the end."""
        better = final & (error < self.best)
        self.best = torch.where(better, error, self.best)
        self.since = torch.where(better | ~final, 0, self.since + 1)
        at_floor = (self.best <= torch.minimum(floor, self.floor)) & (error <= 2 * self.best)
        return final & ((error <= self.tol) | (at_floor & (self.since >= _NO_BETTER)))


def plain_from(max_iter: int) -> int:
    """The iteration from which a budget is spent at the target epsilon."""
    return max_iter - max(_LAST_ITERATIONS, max_iter // _LAST_SHARE)


def drive(loop: Loop, max_iter: int) -> Iterate:
    """Run a loop until each problem has left it, or the budget is spent."""
    ended = _now(loop, max_iter)
    whereabouts: tuple[Tensor, ...] | None = None
    if loop.open.numel() == 0:
        return ended
    tell = Progress(shown=False, room="solver").of(f"iterations on {tuple(loop.problem.shape)} points")
    for k in range(1, max_iter + 1):
        leaving = loop.step(k, max_iter)
        tell(k, max_iter)
        if leaving is None:
            continue
        who = leaving.who & loop.open
        if not bool(who.any()):
            continue
        end = Iterate(leaving.f, leaving.g, torch.full_like(who, k, dtype=torch.long), leaving.settled)
        ended = _write(ended, end, who, whereabouts)
        loop.open = loop.open & ~who
        still = int(loop.open.sum())
        if still == 0:
            return ended
        if 2 * still <= loop.open.numel() and loop.problem.geometry.batch_shape == loop.problem.batch_shape:
            stay = loop.open.nonzero(as_tuple=True)
            whereabouts = stay if whereabouts is None else tuple(index[stay] for index in whereabouts)
            loop = loop._select(stay)
    return _write(ended, _now(loop, max_iter), loop.open, whereabouts)


def _now(loop: Loop, k: int) -> Iterate:
    """Where the problems in a loop are, unsettled."""
    return Iterate(*loop.potentials(), torch.full_like(loop.open, k, dtype=torch.long), torch.zeros_like(loop.open))


def choose(where: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """``torch.where`` for one flag per problem."""
    return torch.where(where if first.ndim == where.ndim else where[..., None], first, second)


def _write(whole: Iterate, part: Iterate, where: Tensor, whereabouts: tuple[Tensor, ...] | None) -> Iterate:
    """``whole`` with the problems ``where`` of ``part`` put in; ``whereabouts`` are their places."""
    if whereabouts is None:
        return Iterate(*(choose(where, new, old) for new, old in zip(part, whole, strict=True)))
    place = tuple(index[where] for index in whereabouts)
    return Iterate(*(old.index_put(place, new[where]) for new, old in zip(part, whole, strict=True)))
