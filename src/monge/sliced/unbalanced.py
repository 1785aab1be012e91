"""Unbalanced sliced transport: measures of any mass, changed at a price before they are compared."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_number, check_points, check_same, check_weights
from monge._value import value
from monge.errors import ShapeError

from ._mean import chunks
from .estimate import Estimate, _estimate
from .line import Balanced, LineProblem
from .slicer import Slicer

__all__ = ["Unbalanced", "unbalanced_sliced_wasserstein"]


@value
class Unbalanced(LineProblem):
    r"""Unbalanced transport on every line on its own (SUOT).

    $$\min_{\pi_1, \pi_2} W_p^p(\pi_1, \pi_2) + \rho\,\mathrm{KL}(\pi_1 | \mu) + \rho\,\mathrm{KL}(\pi_2 | \nu)$$
    by Frank-Wolfe steps with line search on the translation-invariant dual, each a balanced problem on the line. The
    value is the objective at the marginals found, an upper bound whose excess falls like one over the number of steps;
    its gradient follows the envelope theorem.

    Args:
        rho: Price of changing mass, > 0.
        p: Order, at least 1.
        steps: Of Frank-Wolfe.

    Source:
        Bonet, Nadjahi, Sejourne, Fatras, Courty, Slicing unbalanced optimal transport (arXiv 2306.07176).

    Example:
        >>> Unbalanced(rho=1.0)
        Unbalanced(rho=1.0, p=2.0, steps=30)
    """

    rho: float
    p: float = 2.0
    steps: int = 30

    def __post_init__(self) -> None:
        check_number("rho", float(self.rho), low=0.0, strict=True)
        check_number("p", float(self.p), low=1.0)
        check_number("steps", self.steps, low=1)

    def _costs(self, u: Tensor, v: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        a, b = _weights(u, a), _weights(v, b)
        with torch.no_grad():
            f, g = torch.zeros_like(u, dtype=torch.float64), torch.zeros_like(v, dtype=torch.float64)
            for _ in range(self.steps):
                kept = _reweighted(a, b, f, g, self.rho)
                f, g = _step(a, b, f, g, *kernels.line_potentials(u, v, *kept, self.p), self.rho)
            kept = _reweighted(a, b, f, g, self.rho)
        return _objective(u, v, a, b, kept, self.rho, self.p)


def unbalanced_sliced_wasserstein(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    slicer: Slicer,
    rho: float,
    p: float = 2.0,
    steps: int = 30,
) -> tuple[Estimate, Float[Tensor, " n"], Float[Tensor, " m"]]:
    r"""Sliced transport of measures that may change their weights once, for all slices (USOT).

    $$\min_{\pi_1, \pi_2} SW_p^p(\pi_1, \pi_2) + \rho\,\mathrm{KL}(\pi_1 | \mu) + \rho\,\mathrm{KL}(\pi_2 | \nu).$$
    Outliers lose weight in every slice at once, which tells them apart from points that one slice happens to dislike.
    For a reweighting per slice use ``estimate(..., line=Unbalanced(rho))``.

    Args:
        x: First cloud.
        y: Second cloud.
        a: Non-negative weights of `x`, of any mass; None is 1/n each.
        b: The same for `y`.
        slicer: The slices.
        rho: Price of changing mass, > 0.
        p: Order, at least 1.
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
    check_number("rho", rho, low=0.0, strict=True)
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
            kept = _reweighted(a, b, f, g, rho)
            new_f, new_g = torch.zeros_like(f), torch.zeros_like(g)
            for chunk in chunks(slicer.count, 4 * (len(x) + len(y)), 8):
                u, v = slicer._coordinates(x, chunk), slicer._coordinates(y, chunk)
                part_f, part_g = kernels.line_potentials(u, v, *(w[None] for w in kept), p)
                new_f += part_f.sum(0) / slicer.count
                new_g += part_g.sum(0) / slicer.count
            f, g = _step(a, b, f, g, new_f, new_g, rho)
        kept_x, kept_y = (w.to(x.dtype) for w in _reweighted(a, b, f, g, rho))
    moved = _estimate(x, y, kept_x, kept_y, slicer, Balanced(p))
    mass = kept_x.sum()
    penalty = rho * (_kl(kept_x, a) + _kl(kept_y, b))
    whole = Estimate(mass * moved.cost + penalty, mass * moved.slices + penalty.detach(), 1, p)
    return whole, kept_x, kept_y


def _weights(points: Tensor, weights: Tensor | None) -> Tensor:
    n = points.shape[-1]
    return points.new_full((*points.shape[:-1], n), 1 / n) if weights is None else weights.unsqueeze(-2)


def _reweighted(a: Tensor, b: Tensor, f: Tensor, g: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """The marginals a e^{-f/rho}, b e^{-g/rho} after the best common shift, which gives them one mass."""
    log_a, log_b = a.double().log() - f / rho, b.double().log() - g / rho
    middle = (log_a.logsumexp(-1, keepdim=True) + log_b.logsumexp(-1, keepdim=True)) / 2
    return log_a.softmax(-1) * middle.exp(), log_b.softmax(-1) * middle.exp()


def _step(a: Tensor, b: Tensor, f: Tensor, g: Tensor, to_f: Tensor, to_g: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """A step towards the new potentials, as long as the dual climbs.

    With the best common shift the dual is an affine function of -exp((LSE_a + LSE_b) / 2), so that the length is where
    the sum of the two log-sum-exps, convex along the step, stops falling: found by bisection of its slope.
    """
    log_a, log_b, way_f, way_g = a.double().log(), b.double().log(), to_f - f, to_g - g
    low = torch.zeros_like(way_f[..., :1])
    high = torch.ones_like(low)
    for trial in range(20):
        middle = high if trial == 0 else (low + high) / 2
        share_f = (log_a - (f + middle * way_f) / rho).softmax(-1)
        share_g = (log_b - (g + middle * way_g) / rho).softmax(-1)
        climbing = ((share_f * way_f).sum(-1, keepdim=True) + (share_g * way_g).sum(-1, keepdim=True)) > 0
        low, high = torch.where(climbing, middle, low), torch.where(climbing, high, middle)
    return f + low * way_f, g + low * way_g


def _kl(pi: Tensor, weights: Tensor) -> Tensor:
    ratio = pi / torch.where(weights > 0, weights, 1)
    return (torch.special.xlogy(pi, ratio) - pi + weights).sum(-1)


def _objective(u: Tensor, v: Tensor, a: Tensor, b: Tensor, best: tuple[Tensor, Tensor], rho: float, p: float) -> Tensor:
    kept_a, kept_b = best
    moved = kernels.line_distance(u, v, kept_a, kept_b, p)
    penalty = rho * (_kl(kept_a, a.double()) + _kl(kept_b, b.double()))
    return (kept_a.sum(-1) * moved.double() + penalty).to(u.dtype)
