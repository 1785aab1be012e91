"""Unbalanced sliced transport: measures of any mass, changed at a price before they are compared."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_points, check_same, check_weights
from monge._parts import parts_of
from monge._transforms import transformable
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.kernels.twice import held, once

from ._mean import chunks
from .estimate import Estimate, _estimate
from .line import Balanced, Circular, LineProblem
from .slicer import Slicer

__all__ = ["Unbalanced", "unbalanced_sliced_wasserstein"]


_TOLD = (
    "Unbalanced slices have a first derivative only, by the envelope theorem: for a second one use an entropic problem "
    "with Relaxed marginals."
)
_KEPT = "The reweighted marginals of unbalanced slices carry no derivative: detach them, or differentiate the cost."


@value
class Unbalanced(LineProblem):
    r"""Unbalanced transport on every slice on its own (SUOT).

    $$\min_{\pi_1, \pi_2} W_p^p(\pi_1, \pi_2) + \rho_1\,\mathrm{KL}(\pi_1 | \mu) + \rho_2\,\mathrm{KL}(\pi_2 | \nu)$$
    by Frank-Wolfe steps with line search on the translation-invariant dual, each a balanced problem. The value is the
    objective at the marginals found, an upper bound whose excess falls like one over the number of steps; its gradient
    follows the envelope theorem.

    Args:
        rho: Price of changing mass, > 0; a pair prices the two sides apart, and an infinite price on one of them keeps
            that marginal as it is.
        line: The balanced problem underneath: `Balanced` on lines, `Circular` on circles.
        steps: Of Frank-Wolfe.

    Source:
        Bonet, Nadjahi, Sejourne, Fatras, Courty, Slicing unbalanced optimal transport (arXiv 2306.07176).

    Example:
        >>> Unbalanced(rho=1.0).p
        2.0
    """

    rho: float | tuple[float, float]
    line: LineProblem = Balanced()
    steps: int = 30

    def __post_init__(self) -> None:
        _prices(self.rho)
        _check_line(self.line)
        check_number("steps", self.steps, low=1)

    @property
    def p(self) -> float:  # type: ignore[override]
        """The order of the problem underneath."""
        return self.line.p

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        a, b = _weights(u, a), _weights(v, b)
        line, prices = _check_line(self.line), _prices(self.rho)
        with torch.no_grad():
            f, g = torch.zeros_like(u, dtype=torch.float64), torch.zeros_like(v, dtype=torch.float64)
            for _ in range(self.steps):
                kept = _reweighted(a, b, f, g, prices)
                f, g = _step(a, b, f, g, *line._potentials(u, v, *kept), prices)
            kept = _reweighted(a, b, f, g, prices)
        moved = line._costs(u[..., None, :], v[..., None, :], *kept)[..., 0]
        value = kept[0].sum(-1) * moved.double() + _penalty(kept, a, b, prices)
        return once((value + _lean(a, b, f, g, prices)).to(u.dtype), (u, v, a, b), _TOLD)


@transformable
def unbalanced_sliced_wasserstein(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    slicer: Slicer,
    rho: float | tuple[float, float],
    line: LineProblem | None = None,
    steps: int = 30,
) -> tuple[Estimate, Float[Tensor, " n"], Float[Tensor, " m"]]:
    r"""Sliced transport of measures that may change their weights once, for all slices (USOT).

    $$\min_{\pi_1, \pi_2} SW_p^p(\pi_1, \pi_2) + \rho_1\,\mathrm{KL}(\pi_1 | \mu) + \rho_2\,\mathrm{KL}(\pi_2 | \nu).$$
    Outliers lose weight in every slice at once, which tells them apart from points that one slice happens to dislike.
    For a reweighting per slice use ``estimate(..., line=Unbalanced(rho))``.

    Args:
        x: First cloud.
        y: Second cloud.
        a: Non-negative weights of `x`, of any mass; None is 1/n each.
        b: The same for `y`.
        slicer: The slices.
        rho: Price of changing mass, > 0; see `Unbalanced`.
        line: `Balanced` or, for slices that are circles, `Circular`; the first, of order two, if None.
        steps: Of Frank-Wolfe.

    Returns:
        The estimate, whose cost holds the whole objective, and the two reweighted marginals.

    Source:
        Bonet, Nadjahi, Sejourne, Fatras, Courty, Slicing unbalanced optimal transport (arXiv 2306.07176).

    Example:
        >>> import torch
        >>> from monge.sliced import Linear
        >>> x, y = torch.tensor([[0.0], [9.0]]), torch.tensor([[0.0]])
        >>> _, kept, _ = unbalanced_sliced_wasserstein(x, y, slicer=Linear(torch.ones(1, 1)), rho=1.0)
        >>> bool(kept[1] < 0.1 * kept[0])
        True
    """
    check_points("x", x)
    check_points("y", y)
    check_same(x=x, y=y, a=a, b=b)
    prices, problem = _prices(rho), _check_line(Balanced() if line is None else line)
    check_number("steps", steps, low=1)
    if x.ndim != 2 or y.ndim != 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"x and y must be single clouds of one space, but have {tuple(x.shape)} and {tuple(y.shape)}.")
    for name, weight, points in (("a", a, x), ("b", b, y)):
        if weight is not None:
            check_weights(name, weight, len(points))
    a = x.new_full((len(x),), 1 / len(x)) if a is None else a
    b = y.new_full((len(y),), 1 / len(y)) if b is None else b
    with torch.no_grad():
        f, g = torch.zeros_like(a, dtype=torch.float64), torch.zeros_like(b, dtype=torch.float64)
        for _ in range(steps):
            kept = _reweighted(a, b, f, g, prices)
            new_f, new_g = torch.zeros_like(f), torch.zeros_like(g)
            for chunk in chunks(slicer.count, 4 * (len(x) + len(y)), 8):
                u, v = slicer._coordinates(x, chunk), slicer._coordinates(y, chunk)
                part_f, part_g = problem._potentials(u, v, *(w[None] for w in kept))
                new_f += part_f.sum(0) / slicer.count
                new_g += part_g.sum(0) / slicer.count
            f, g = _step(a, b, f, g, new_f, new_g, prices)
        kept_x, kept_y = (w.to(x.dtype) for w in _reweighted(a, b, f, g, prices))
    moved = _estimate(x, y, kept_x, kept_y, slicer, problem)
    penalty = (_penalty((kept_x, kept_y), a, b, prices) + _lean(a, b, f, g, prices)).to(x.dtype)
    mass = kept_x.sum()
    sources = (x, y, a, b, *parts_of(slicer).tensors)
    cost = once(mass * moved.cost + penalty, sources, _TOLD)
    whole = Estimate(cost, (mass * moved.slices + penalty).detach(), 1, problem.p)
    return whole, *(held(kept, sources, _KEPT) for kept in (kept_x, kept_y))


class _Prices(NamedTuple):
    """What a change of mass costs on either side."""

    x: float
    y: float

    @property
    def share(self) -> float:
        """The weight of the first side in the common mass: nothing if the other one is pinned."""
        return 1 / (1 + self.y / self.x) if self.x < math.inf else 1.0


def _prices(rho: float | tuple[float, float]) -> _Prices:
    both = rho if isinstance(rho, tuple) else (rho, rho)
    if len(both) != 2:
        raise InputError(f"rho must be one price or a pair, one a side, but is {rho!r}.")
    for price in both:
        check_number("rho", float(price), low=0.0, strict=True)
    if min(both) == math.inf:
        raise InputError("rho must be finite on one side at least: for rho=inf on both use the balanced distance.")
    return _Prices(float(both[0]), float(both[1]))


def _check_line(line: LineProblem) -> Balanced | Circular:
    if not isinstance(line, (Balanced, Circular)):
        raise InputError(f"line must be Balanced() or Circular(), whose potentials are known, but is {line!r}.")
    return line


def _weights(points: Tensor, weights: Tensor | None) -> Tensor:
    n = points.shape[-1]
    return points.new_full((*points.shape[:-1], n), 1 / n) if weights is None else weights.unsqueeze(-2)


def _reweighted(a: Tensor, b: Tensor, f: Tensor, g: Tensor, rho: _Prices) -> tuple[Tensor, Tensor]:
    """The marginals a e^{-f/rho}, b e^{-g/rho} after the best common shift, which gives them one mass."""
    log_a, log_b = a.double().log() - f / rho.x, b.double().log() - g / rho.y
    total_a, total_b = log_a.logsumexp(-1, keepdim=True), log_b.logsumexp(-1, keepdim=True)
    middle = rho.share * total_a + (1 - rho.share) * total_b
    return log_a.softmax(-1) * middle.exp(), log_b.softmax(-1) * middle.exp()


def _lean(a: Tensor, b: Tensor, f: Tensor, g: Tensor, rho: _Prices) -> Tensor:
    """Zero, with the slope of the optimum by the weights of a side that may not change: its potential.

    The optimum likes marginals whose levels meet, where the distance itself has a kink: only the dual knows the slope.
    """
    if max(rho) < math.inf:
        return torch.zeros((), dtype=f.dtype, device=f.device)
    pinned, potential, free = (a, f, b.log() - g / rho.y) if rho.x == math.inf else (b, g, a.log() - f / rho.x)
    pinned, price = pinned.double(), min(rho)
    shift = price * (pinned.detach().sum(-1, keepdim=True).log() - free.detach().logsumexp(-1, keepdim=True))
    return ((pinned - pinned.detach()) * (potential + shift)).sum(-1)


def _step(
    a: Tensor, b: Tensor, f: Tensor, g: Tensor, to_f: Tensor, to_g: Tensor, rho: _Prices
) -> tuple[Tensor, Tensor]:
    """A step towards the new potentials, as long as the dual climbs.

    With the best common shift the dual is an affine function of minus the common mass, so that the length is where the
    mean of the two log-sum-exps, weighted by the prices and convex along the step, stops falling: found by bisection of
    its slope, in which the prices cancel.
    """
    log_a, log_b, way_f, way_g = a.double().log(), b.double().log(), to_f - f, to_g - g
    low = torch.zeros_like(way_f[..., :1])
    high = torch.ones_like(low)
    for trial in range(20):
        middle = high if trial == 0 else (low + high) / 2
        share_f = (log_a - (f + middle * way_f) / rho.x).softmax(-1)
        share_g = (log_b - (g + middle * way_g) / rho.y).softmax(-1)
        climbing = ((share_f * way_f).sum(-1, keepdim=True) + (share_g * way_g).sum(-1, keepdim=True)) > 0
        low, high = torch.where(climbing, middle, low), torch.where(climbing, high, middle)
    return f + low * way_f, g + low * way_g


def _penalty(kept: tuple[Tensor, Tensor], a: Tensor, b: Tensor, rho: _Prices) -> Tensor:
    """What the changes of mass cost; a pinned side has none."""
    terms = [price * _kl(pi, w.double()) for price, pi, w in zip(rho, kept, (a, b), strict=True) if price < math.inf]
    return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


def _kl(pi: Tensor, weights: Tensor) -> Tensor:
    ratio = pi / torch.where(weights > 0, weights, 1)
    return (torch.special.xlogy(pi, ratio) - pi + weights).sum(-1)
