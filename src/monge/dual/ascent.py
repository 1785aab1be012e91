"""One iteration of block ascent on the dual, for every kind of marginal, and what is measured on the way."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge.errors import InfeasibleError
from monge.kernels import log_sum_exp
from monge.problem import Linear, Marginal
from monge.problem.fixed import Fixed
from monge.problem.marginal import column, log_weights, pairing

from .translation import smoothly_translated, translated

__all__ = ["Ascent", "Iteration"]


class Iteration(NamedTuple):
    """What one iteration from a potential g gives.

    Args:
        f: The best potential of the rows for g; with a mass it contains the multiplier of the mass.
        g: The potential it started from.
        log_marginal: The logarithm of the column marginal of the pair (f, g), whose rows are exact.
        error: L1 distance of that marginal from the one after the next image, relative to its mass.
        last: f again, translated against the next potential of the columns where the problem allows it.
        image: The best potential of the columns for f, translated likewise: the next g.
        dual: The dual value of the pair (last, image), which block ascent never lowers.
    """

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    log_marginal: Float[Tensor, "*b m"]
    error: Float[Tensor, "*b"]
    last: Float[Tensor, "*b n"]
    image: Float[Tensor, "*b m"]
    dual: Float[Tensor, "*b"]

    @property
    def marginal(self) -> Float[Tensor, "*b m"]:
        """The column marginal: only who asks for it pays for exponentials, for which torch wakes its threads."""
        return self.log_marginal.exp()


class Ascent:
    """The map from one potential g to the next, for one problem, at any epsilon."""

    def __init__(self, problem: Linear) -> None:
        self.problem = problem
        self.log_a, self.log_b = log_weights(problem.a), log_weights(problem.b)
        self.columns = problem.geometry.T
        self.mass = problem.mass if problem.partial else None
        self.totals = problem.source.total, problem.target.total
        self.shares = problem.a / column(self.totals[0]), problem.b / column(self.totals[1])

    def _select(self, index: Any) -> Ascent:
        return Ascent(self.problem._select(index))

    def zero(self) -> Float[Tensor, "*b m"]:
        """Potentials zero."""
        shape = (*self.problem.batch_shape, self.problem.shape[1])
        return torch.zeros(shape, dtype=self.problem.a.dtype, device=self.problem.a.device)

    def start(self) -> tuple[Float[Tensor, "*b m"], Float[Tensor, "*b"]]:
        """Potentials zero, and a first epsilon: the duality gap of the independent plan.

        That gap measures the cost in its own units, and does not change if a function of the rows or of the
        columns is added to the cost.

        Raises:
            InfeasibleError: If a point with mass that must move can reach no point at a finite cost.
        """
        problem, zero = self.problem, self.zero()
        epsilon = problem.epsilon.broadcast_to(problem.batch_shape)
        f, g, _ = problem.geometry._sinkhorn(zero, self.log_a, self.log_b, epsilon)
        _check_reach("source", problem.source, f)
        _check_reach("target", problem.target, g)
        a, b = self.shares
        reached = pairing(a, torch.nan_to_num(f, posinf=0.0)) + pairing(b, torch.nan_to_num(g, posinf=0.0))
        return zero, torch.maximum(problem.geometry.mean(a, b) - reached, epsilon)

    def iteration(self, g: Float[Tensor, "*b m"], epsilon: Float[Tensor, "*b"]) -> Iteration:
        """The next potential of each side from g, at an epsilon that need not be the problem's."""
        if self.problem.balanced:
            f, image, error = self.problem.geometry._sinkhorn(g, self.log_a, self.log_b, epsilon)
            log_marginal = self.log_b + (g - image) / column(epsilon)
            total, _ = self.totals
            return Iteration(f, g, log_marginal, error / total, f, image, self._dual(f, image, total, epsilon))

        f, level = self._rows(g, epsilon)
        image, next_level, p = self._columns(f, epsilon)
        log_marginal = self.log_b + (g + column(level) - p) / column(epsilon)
        after = torch.exp(self.log_b + (image + column(next_level) - p) / column(epsilon))
        moved = after.sum(-1)
        last, shifted = translated(self.problem, self.log_a, self.log_b, f, image)
        missed = (log_marginal.exp() - after).abs().sum(-1)
        if last is not f:
            # The plan stays, and what is asked of it moves.
            missed = missed + _moved(self.problem.source, f, last) + _moved(self.problem.target, image, shifted)
        image, error = shifted, missed / moved
        dual = self._dual(last, image, moved, epsilon)
        if self.mass is not None:
            dual = dual + next_level * self.mass
        return Iteration(f + column(level), g, log_marginal, error, last + column(next_level), image, dual)

    def semidual(
        self, iteration: Iteration, epsilon: Float[Tensor, "*b"]
    ) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """The dual value of (f, g), whose f is the best for g, up to a constant; and how far rounding may be off."""
        problem = self.problem
        f, g, level = iteration.f, iteration.g, torch.zeros_like(epsilon)
        if self.mass is not None:
            level = torch.where(problem.a > 0, f, -math.inf).amax(-1)
        value = problem.source._conjugate(f - column(level)) + problem.target._conjugate(g)
        if self.mass is not None:
            value = value + level * self.mass
        elif not isinstance(problem.source, Fixed):
            value = value - epsilon * iteration.marginal.sum(-1)
        size = pairing(problem.a, f.abs()) + pairing(problem.b, g.abs()) + value.abs()
        return value, torch.finfo(f.dtype).eps * (4 * size + epsilon)

    def rounding(self, f: Tensor, g: Tensor, epsilon: Tensor) -> Float[Tensor, "*b"]:
        """The marginal error that rounding of potentials of this size explains, at this epsilon."""
        a, b = self.shares
        return 2 * torch.finfo(f.dtype).eps * (pairing(a, f.abs()) + pairing(b, g.abs())) / epsilon

    def images(self, g: Float[Tensor, "*b m"], epsilon: Float[Tensor, "*b"]) -> tuple[Tensor, Tensor]:
        """The next pair (f, g), differentiable, and nothing else."""
        f, _ = self._rows(g, epsilon)
        g, level, _ = self._columns(f, epsilon)
        f, g = smoothly_translated(self.problem, self.log_a, self.log_b, f, g)
        return f + column(level), g

    def _rows(self, g: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        q = self.problem.geometry._softmin(g, self.log_b, epsilon)
        return self._best(self.problem.source, self.log_a, q, epsilon)

    def _columns(self, f: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p = self.columns._softmin(f, self.log_a, epsilon)
        return *self._best(self.problem.target, self.log_b, p, epsilon), p

    def _dual(self, f: Tensor, g: Tensor, moved: Tensor, epsilon: Tensor) -> Tensor:
        source, target = self.problem.source, self.problem.target
        return source._conjugate(f) + target._conjugate(g) - epsilon * (moved - self.totals[0] * self.totals[1])

    def _best(self, side: Marginal, log_a: Tensor, q: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """The best potential against a transform q, and the best multiplier of the mass together with it."""
        if self.mass is None:
            return side._maximiser(q, epsilon), torch.zeros_like(epsilon)
        level = _level(q, log_a, self.mass, epsilon)
        return side._maximiser(q - column(level), epsilon), level


def _moved(side: Marginal, f: Tensor, other: Tensor) -> Tensor:
    """By how much the marginals differ that two potentials imply."""
    change = side._mass_at(f) - side._mass_at(other)
    return torch.where(change.isfinite(), change, 0.0).abs().sum(-1)


def _level(q: Tensor, log_a: Tensor, mass: Tensor, epsilon: Tensor) -> Tensor:
    """The multiplier s at which rows of mass a_i min(1, exp((s - q_i) / epsilon)) sum to the mass, exactly.

    Rows with q_i < s are saturated: sorted by q they come first, and the first k are those at whose own level
    the mass is not yet exceeded.
    """
    log_a = log_a.broadcast_to(q.shape)
    q = torch.where(log_a == -math.inf, math.inf, q)
    q, order = q.sort(-1)
    log_a = log_a.gather(-1, order)
    eps, mass = column(epsilon), column(mass)
    term = torch.where(q == math.inf, -math.inf, log_a - q / eps)
    with torch.no_grad():
        # After row k: the log of the sum over the later ones, and the mass of those up to it.
        tail = torch.logcumsumexp(term.flip(-1), -1).flip(-1)[..., 1:]
        tail = torch.cat([tail, torch.full_like(term[..., :1], -math.inf)], -1)
        at_own = torch.exp(log_a).cumsum(-1) + torch.exp(torch.where(q == math.inf, 0.0, q / eps) + tail)
        k = ((at_own <= mass) & (q < math.inf)).sum(-1, keepdim=True)
        saturated = torch.arange(q.shape[-1], device=q.device) < k
    # Plain sums over the rows on either side of k, which are differentiable to any order.
    full = torch.where(saturated, torch.exp(log_a), 0.0).sum(-1, keepdim=True)
    left = term.masked_fill(saturated, -math.inf)
    none = (left == -math.inf).all(-1, keepdim=True)
    tail = log_sum_exp(left, -1)[..., None]
    short = mass - full
    level = eps * (torch.log(torch.where(short > 0, short, 1.0)) - tail)
    level = level.masked_fill(~(short > 0), -math.inf).masked_fill(none, math.inf)
    # Rounding must not push the level out of its interval; if all rows are saturated it is the last one's.
    low = torch.cat([torch.full_like(q[..., :1], -math.inf), q], -1).gather(-1, k)
    high = torch.where(q < math.inf, q, -math.inf).amax(-1, keepdim=True)
    return torch.minimum(torch.maximum(torch.nan_to_num(level, nan=math.inf), low), high)[..., 0]


def _check_reach(side: str, marginal: Marginal, potential: Tensor) -> None:
    stuck = (potential == math.inf) & (marginal.weights > 0)
    if isinstance(marginal, Fixed) and bool(stuck.any()):
        raise InfeasibleError(
            f"{side} has {int(stuck.sum())} points with mass whose costs are all infinite, the first at "
            f"{tuple(int(k) for k in stuck.nonzero()[0])}: make a cost finite, or set their weight to zero."
        )
