"""The dual of unbalanced transport, climbed from potentials that only balanced problems give."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from monge.errors import ConvergenceWarning

from ._aligned_clouds import gathered

MOST_CORNERS = 24  # potentials that are kept; beyond them some are replaced by the mixture found so far
NEWTON_STEPS = 3  # over the mixtures, for every corner
TINY = 1e-200

Oracle = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Prices(NamedTuple):
    """What a change of mass costs on either side."""

    x: float
    y: float

    @property
    def share(self) -> float:
        """The weight of the first side in the common mass: nothing if the other one is pinned."""
        return 1 / (1 + self.y / self.x) if self.x < math.inf else 1.0


class Ascent(NamedTuple):
    """Potentials, and how far the marginals that they imply are from the best ones."""

    f: Tensor  # (rows, n)
    g: Tensor  # (rows, m)
    gap: Tensor  # (rows,), the objective less the dual


class Dual(NamedTuple):
    """Weights of both sides, and potentials that imply others after the best common shift, of one mass."""

    a: Tensor
    b: Tensor
    f: Tensor
    g: Tensor
    rho: Prices

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """The marginals a e^{-f/rho}, b e^{-g/rho}."""
        log_a, log_b, middle = self._logarithms()
        return log_a.softmax(-1) * middle.exp(), log_b.softmax(-1) * middle.exp()

    @property
    def penalty(self) -> Tensor:
        """What the changes of mass cost, free of cancellation: a pinned side has none."""
        log_a, log_b, middle = self._logarithms()
        total = torch.zeros_like(middle[..., 0])
        for price, weights, potential, log in zip(self.rho, self[:2], self[2:4], (log_a, log_b), strict=True):
            if price < math.inf:
                change = middle - log.logsumexp(-1, keepdim=True) - potential / price
                change = torch.where(weights > 0, change, 0.0)  # absent points may be anywhere
                total = total + price * (weights.double() * (change * change.exp() - change.expm1())).sum(-1)
        return total

    def _logarithms(self) -> tuple[Tensor, Tensor, Tensor]:
        a, b, f, g, rho = self
        log_a, log_b = a.double().log() - f / rho.x, b.double().log() - g / rho.y
        total_a, total_b = log_a.logsumexp(-1, keepdim=True), log_b.logsumexp(-1, keepdim=True)
        return log_a, log_b, rho.share * total_a + (1 - rho.share) * total_b


def climb(a: Tensor, b: Tensor, rho: Prices, oracle: Oracle, tol: float, steps: int) -> Ascent:
    r"""Maximise the dual over the convex hull of the potentials that ``oracle`` gives, until the gap is small.

    With the best common shift the dual is a decreasing function of the weighted mean of two log-sum-exps, convex in the
    potentials. ``oracle(rows, pi_1, pi_2)`` maximises its linear form: a balanced problem between the present marginals
    of some rows. Its answer joins the corners found so far (Frank and Wolfe), and Newton steps find the best mixture of
    them all (the fully corrective form): a few tens of corners where plain steps need thousands. What is left of the
    linear form is the duality gap of the present marginals: it is measured, not estimated.
    """
    count, n = a.shape
    log = torch.cat([a, b], -1).double().log()
    here = torch.zeros_like(log)  # costs are never negative: zero is feasible
    corners, shares = here[:, None, :], torch.ones_like(log[:, :1])
    found, gaps = torch.zeros_like(log), torch.zeros_like(log[:, 0])
    rows = torch.arange(count, device=a.device)
    gap = value = gaps
    done = gaps > 0
    for step in range(steps + 1):
        dual = Dual(a, b, here[:, :n], here[:, n:], rho)
        kept = dual.kept
        corner, mass = torch.cat(oracle(rows, *kept), -1), torch.cat(kept, -1)
        gap = (mass * (corner - here)).sum(-1).clamp_min(0)
        value = (mass * corner).sum(-1) + dual.penalty
        rounding = 1e-13 * (mass * (corner.abs() + here.abs())).sum(-1)
        done = gap <= (tol * value).maximum(rounding)
        found[rows], gaps[rows] = here, gap
        if step == steps or bool(done.all()):
            break
        # Who has arrived stays as it is: a problem must not depend on its neighbours in the batch.
        rows, a, b, log, here, corner, corners, shares = (
            part[~done] for part in (rows, a, b, log, here, corner, corners, shares)
        )
        corners, shares = _joined(corners, shares, corner, here)
        space = _Mixtures(log, corners, n, rho)
        whole = torch.zeros_like(shares)
        whole[:, -1] = 1
        shares = space.moved(shares, whole - shares, 40)  # the way of Frank and Wolfe always climbs
        for _ in range(NEWTON_STEPS):
            shares = space.moved(shares, space.newton(shares), 16)
        here = space.mixed(shares)
    if not bool(done.all()):
        left = (gap / value.clamp_min(TINY))[~done].max()
        warnings.warn(
            f"The duality gap of unbalanced slices is still {float(left):.1e} of the cost after steps={steps}, above "
            f"tol={tol:g}: allow more steps, a larger tol, or a larger rho.",
            ConvergenceWarning,
            stacklevel=4,
        )
    return Ascent(found[:, :n], found[:, n:], gaps)


def _joined(corners: Tensor, shares: Tensor, corner: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """The corners with a new one at the end, of share zero. Where they are too many, the mixture stands for all."""
    if shares.shape[-1] >= MOST_CORNERS:
        order = shares.argsort(dim=-1, descending=True)[..., : MOST_CORNERS - 1]
        kept = shares.gather(-1, order)
        corners = gathered(corners, order)
        lost = (shares.sum(-1, keepdim=True) - kept.sum(-1, keepdim=True)) > 1e-12
        whole = torch.zeros_like(kept)
        whole[..., -1] = 1
        last = torch.where(lost, here, corners[..., -1, :])
        corners = torch.cat([corners[..., :-1, :], last[..., None, :]], -2)
        shares = torch.where(lost, whole, kept / kept.sum(-1, keepdim=True))
    return torch.cat([corners, corner[..., None, :]], -2), torch.nn.functional.pad(shares, (0, 1))


class _Mixtures(NamedTuple):
    """The level of the dual over mixtures of corners."""

    log: Tensor  # (rows, n + m), logarithms of the weights
    corners: Tensor  # (rows, k, n + m)
    n: int
    rho: Prices

    def mixed(self, shares: Tensor) -> Tensor:
        return (shares[..., None, :] @ self.corners)[..., 0, :]

    def laws(self, potentials: Tensor) -> tuple[Tensor, Tensor]:
        n, rho = self.n, self.rho
        left = self.log[..., :n] - potentials[..., :n] / rho.x
        return left.softmax(-1), (self.log[..., n:] - potentials[..., n:] / rho.y).softmax(-1)

    def newton(self, shares: Tensor) -> Tensor:
        """The way to the best mixture of a quadratic model, over the corners that hold a share or deserve one."""
        curvature, gradient = torch.zeros_like(shares[..., None] * shares[..., None, :]), torch.zeros_like(shares)
        sides = self.corners.split([self.n, self.log.shape[-1] - self.n], -1)
        for law, price, side in zip(self.laws(self.mixed(shares)), self.rho, sides, strict=True):
            mean = (side * law[..., None, :]).sum(-1)
            centred = side - mean[..., None]
            gradient = gradient + mean
            curvature = curvature + (centred * (law / price)[..., None, :]) @ centred.mT
        free = (shares > 0) | (gradient > (shares * gradient).sum(-1, keepdim=True))
        way = _way(curvature, gradient, free)
        # Who has nothing cannot give: the corners that deserved a share alone, but not together, wait.
        blocked = (shares == 0) & (way < 0)
        return _way(curvature, gradient, free & ~blocked) if bool(blocked.any()) else way

    def moved(self, shares: Tensor, way: Tensor, trials: int) -> Tensor:
        """Along the way as long as the dual climbs and no share is negative; a bisection of the gradient."""
        reach = torch.where(way < 0, shares / -way, math.inf)
        end = reach.amin(-1, keepdim=True).clamp_max(4.0)
        start, course = self.mixed(shares), self.mixed(way)
        low, high = torch.zeros_like(end), end
        for trial in range(trials):
            middle = high if trial == 0 else (low + high) / 2
            gradient = (torch.cat(self.laws(start + middle * course), -1) * course).sum(-1, keepdim=True)
            low, high = torch.where(gradient > 0, middle, low), torch.where(gradient > 0, high, middle)
        gone = (low >= end) & (reach <= end)
        moved = shares + low * way
        moved = torch.where(gone | (moved < 1e-14), 0.0, moved)
        return moved / moved.sum(-1, keepdim=True)


def _way(curvature: Tensor, gradient: Tensor, free: Tensor) -> Tensor:
    """Newton's step among the free corners, of sum zero."""
    allowed = free.to(gradient.dtype)
    size = curvature.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
    size = torch.where(size > TINY, size, 1.0)  # the dual of single points is straight
    held = curvature * allowed[..., None] * allowed[..., None, :]
    held = held + torch.diag_embed(size * (1e-9 * allowed + (1 - allowed)))
    both = torch.linalg.solve(held, torch.stack([gradient * allowed, allowed], -1))
    level = both[..., 0].sum(-1, keepdim=True) / both[..., 1].sum(-1, keepdim=True)
    return (both[..., 0] - level * both[..., 1]) * allowed
