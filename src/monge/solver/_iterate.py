"""The loop of block ascent: annealing, safeguarded acceleration and stopping, for each problem on its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monge.problem.marginal import column

from ._anderson import Anderson
from ._ascent import Ascent, Sweep

if TYPE_CHECKING:
    from monge.problem import Linear

__all__ = ["Iterate", "iterate", "resolvable"]

# Updates at each epsilon on the way down, and the factor between one and the next.
_LEVEL_UPDATES = 3
_LEVEL_FACTOR = 4.0
# One jump in three iterations, with a memory of eight, is as fast as a jump in each, and safer.
_JUMP_EVERY = 3
_MEMORY = 8


class Iterate(NamedTuple):
    """Where the loop ended, for each problem.

    Args:
        f: Potential of the rows.
        g: Potential of the columns, exact for f.
        iterations: Sweeps spent.
        settled: Whether the tolerance, or the floor of rounding, was reached.
    """

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    iterations: Int[Tensor, "*b"]
    settled: Bool[Tensor, "*b"]


def resolvable(f: Float[Tensor, "*b n"], g: Float[Tensor, "*b m"], epsilon: Float[Tensor, "*b"]) -> Tensor:
    """The marginal error below which potentials of this size are rounding noise: u (|f| + |g|) / epsilon."""
    largest = (torch.nan_to_num(h, posinf=0.0).abs().amax(-1) for h in (f, g))
    return 2 * torch.finfo(f.dtype).eps * sum(largest) / epsilon


def iterate(
    problem: Linear,
    g: Float[Tensor, "*b m"],
    epsilon: Float[Tensor, "*b"],
    *,
    tol: float,
    max_iter: int,
    accelerate: bool,
) -> Iterate:
    """Ascend from g until the column error is below ``tol``, while epsilon falls to that of the problem.

    A problem that is done leaves the batch: it waits for no other, and no other changes it.
    """
    loop = _Loop(problem, g, epsilon, accelerate)
    ended = Iterate(loop.f_held, loop.g_held, torch.full_like(loop.age, max_iter), torch.zeros_like(loop.jumped))
    whereabouts: tuple[Tensor, ...] | None = None
    # Reading a flag waits for an accelerator to finish its work, so it is not done at every step there.
    patience = 1 if g.device.type == "cpu" else 10

    for k in range(1, max_iter + 1):
        if k == max_iter:
            # Whatever is returned belongs to the epsilon that was asked for.
            loop.epsilon = loop.target
        sweep, final = loop.step()
        if k % patience and k < max_iter:
            continue
        floor = resolvable(sweep.last, sweep.image, loop.target)
        settled = loop.open & final & (sweep.error <= floor.clamp(min=tol))
        if bool(settled.any()):
            end = Iterate(sweep.last, sweep.image, torch.full_like(loop.age, k), settled)
            ended = _write(ended, end, settled, whereabouts)
            loop.open = loop.open & ~settled
            still = int(loop.open.sum())
            if still == 0:
                return ended
            if 2 * still <= loop.open.numel() and problem.geometry.batch_shape == problem.batch_shape:
                stay = loop.open.nonzero(as_tuple=True)
                whereabouts = stay if whereabouts is None else tuple(index[stay] for index in whereabouts)
                loop = loop.select(stay)
    end = Iterate(loop.f_held, loop.g_held, torch.full_like(loop.age, max_iter), torch.zeros_like(loop.open))
    return _write(ended, end, loop.open, whereabouts)


class _Loop:
    """The state of the problems that are still in the loop."""

    def __init__(self, problem: Linear, g: Tensor, epsilon: Tensor, accelerate: bool) -> None:
        batch = problem.batch_shape
        self.problem, self.ascent, self.accelerate = problem, Ascent(problem), accelerate
        self.memory = Anderson(problem.b, _MEMORY)
        self.target = problem.epsilon.broadcast_to(batch)
        self.epsilon = epsilon
        self.g = g
        # The best pair so far, whose second half is the point to fall back to, and the dual value to hold.
        self.f_held, self.g_held = g.new_zeros((*batch, problem.shape[0])), g
        self.guard = torch.full_like(epsilon, -math.inf)
        self.open = torch.ones(batch, dtype=torch.bool, device=g.device)
        # Whether g is a jump that still has to prove itself, and sweeps since epsilon or that proof last
        # failed.
        self.jumped = torch.zeros_like(self.open)
        self.age = torch.zeros(batch, dtype=torch.long, device=g.device)

    def step(self) -> tuple[Sweep, Bool[Tensor, "*b"]]:
        """One sweep, whether it was at the target epsilon, and the next point."""
        sweep = self.ascent.sweep(self.g, self.epsilon)
        final = self.epsilon <= self.target
        # In exact arithmetic plain ascent keeps the dual value, so a jump must too; rounding is forgiven.
        slack = 10 * torch.finfo(self.g.dtype).eps * sweep.dual.abs().clamp(min=self.target)
        refused = self.jumped & ~(sweep.dual >= self.guard - slack)
        held = column(refused)
        self.f_held = torch.where(held, self.f_held, sweep.last)
        self.g_held = torch.where(held, self.g_held, sweep.image)
        self.guard = torch.where(refused, self.guard, torch.where(final, sweep.dual, -math.inf))
        self.age = torch.where(refused, 0, self.age + 1)
        self.g, self.jumped = self.g_held, torch.zeros_like(self.jumped)
        if self.accelerate:
            self.memory.remember(sweep.g, sweep.image, final & ~refused)
            self.jumped = final & ~refused & (self.age % _JUMP_EVERY == 0)
            if bool(self.jumped.any()):
                mixed = self.problem.target._project(self.memory.mix())
                self.jumped = self.jumped & mixed.isfinite().all(-1)
                self.g = torch.where(column(self.jumped), mixed, self.g)
        falls = ~final & (self.age == _LEVEL_UPDATES)
        lower = torch.maximum(self.epsilon / _LEVEL_FACTOR, self.target)
        self.epsilon = torch.where(falls, lower, self.epsilon)
        self.age = torch.where(falls, 0, self.age)
        return sweep, final

    def select(self, index: tuple[Tensor, ...]) -> _Loop:
        """The state of some of the problems."""
        chosen = _Loop.__new__(_Loop)
        chosen.problem = self.problem._select(index)
        chosen.ascent, chosen.accelerate = Ascent(chosen.problem), self.accelerate
        chosen.memory = self.memory.select(index)
        for name in ("target", "epsilon", "g", "f_held", "g_held", "guard", "open", "jumped", "age"):
            setattr(chosen, name, getattr(self, name)[index])
        return chosen


def _write(whole: Iterate, part: Iterate, where: Tensor, whereabouts: tuple[Tensor, ...] | None) -> Iterate:
    """``whole`` with the problems ``where`` of ``part`` put in; ``whereabouts`` are their places."""
    if whereabouts is None:
        mask = (where[..., None], where[..., None], where, where)
        return Iterate(*(torch.where(m, new, old) for m, new, old in zip(mask, part, whole, strict=True)))
    place = tuple(index[where] for index in whereabouts)
    return Iterate(*(old.index_put(place, new[where]) for new, old in zip(part, whole, strict=True)))
