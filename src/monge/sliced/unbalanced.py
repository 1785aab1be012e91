"""Unbalanced sliced transport: measures of any mass may change their mass at a price."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number
from monge._parts import parts_of
from monge._users_arrays import takes_arrays
from monge._value import value
from monge.errors import InputError
from monge.kernels.derivatives import held, once

from ._aligned_clouds import Clouds, aligned, equal_unless
from ._over_slices import chunks
from ._unbalanced_dual import MOST_CORNERS, Ascent, Dual, Prices, climb
from .estimate import Estimate, averaged
from .line import Balanced, Circular, LineProblem, visible
from .slicer import Slicer

__all__ = ["Unbalanced", "unbalanced_sliced_wasserstein"]


_TOLD = (
    "Unbalanced slices have a first derivative only, by the envelope theorem: for a second one use an entropic problem "
    "with Relaxed marginals."
)
_KEPT = "The reweighted marginals of unbalanced slices carry no derivative: detach them, or differentiate the cost."


@value
class Unbalanced(LineProblem):
    r"""Unbalanced transport on every slice separately (SUOT).

    $$\min_{\pi_1, \pi_2} W_p^p(\pi_1, \pi_2) + \rho_1\,\mathrm{KL}(\pi_1 | \mu) + \rho_2\,\mathrm{KL}(\pi_2 | \nu)$$
    The method makes corrective Frank-Wolfe steps on the translation-invariant dual, each of which is a balanced
    problem, until the duality gap is a small share of the objective. The value is the objective at the marginals that
    were found; it lies above the optimum by at most the gap, which `Estimate.gap` contains. The gradient follows from
    the envelope theorem.

    Args:
        rho: Price of changing mass, > 0. A pair has one price for each side, and an infinite price on one side keeps
            the marginal of this side as it is.
        line: The balanced problem on each slice: `Balanced` on lines, `Circular` on circles.
        tol: The largest duality gap of a slice, as a share of its cost.
        steps: The largest number of steps. If rho is small compared with the costs, it may not be enough; then a
            `ConvergenceWarning` gives the gap that is left.

    Source:
        Bonet, Nadjahi, Sejourne, Fatras, Courty, Slicing unbalanced optimal transport (arXiv 2306.07176).

    Example:
        >>> Unbalanced(rho=1.0).p
        2.0
    """

    rho: float | tuple[float, float]
    line: Balanced | Circular = Balanced()
    tol: float = 1e-4
    steps: int = 300

    def __post_init__(self) -> None:
        if isinstance(self.rho, tuple) and len(self.rho) != 2:
            raise InputError(
                f"rho must be one price, or a pair with a price for each side, but is {self.rho!r}: pass one."
            )
        for price in self._prices:
            check_number("rho", price, low=0.0, strict=True, infinity=True)
        if min(self._prices) == math.inf:
            raise InputError("rho must be finite on one side at least: for rho=inf on both use the balanced distance.")
        if not isinstance(self.line, (Balanced, Circular)):
            raise InputError(
                f"line must be Balanced() or Circular(), whose potentials are known, but is {self.line!r}."
            )
        check_number("tol", float(self.tol), low=0.0, strict=True)
        check_number("steps", self.steps, low=1)

    @property
    def p(self) -> float:  # type: ignore[override]
        """The order of the problem underneath."""
        return self.line.p

    @property
    def _prices(self) -> Prices:
        return Prices(*map(float, self.rho if isinstance(self.rho, tuple) else (self.rho, self.rho)))

    def _costs(self, lines: Clouds) -> Tensor:
        return self._measured(lines)[0]

    def _measured(self, lines: Clouds) -> tuple[Tensor, Tensor]:
        u, v = lines[:2]
        a, b = visible(u, lines.a, None), visible(v, lines.b, None)
        with torch.no_grad():
            f, g, gap = self._potentials(Clouds(u, v, a, b).map(Tensor.detach))
            dual = Dual(a, b, f, g, self._prices)
            kept = dual.kept
        moved = self.line._costs(Clouds(u, v, *kept))
        value = (kept[0].sum(-1) * moved.double() + _penalty(dual)).to(u.dtype)
        return once(value, (u, v, a, b), _TOLD), gap

    def _potentials(self, lines: Clouds) -> Ascent:
        """Potentials and gaps, a few problems at a time: each keeps a list of potentials."""
        batch = lines.x.shape[:-1]
        u, v, a, b = lines.map(lambda part: part.expand(*batch, part.shape[-1]).reshape(-1, part.shape[-1]))
        assert a is not None
        assert b is not None
        found = Ascent(*(torch.zeros_like(part, dtype=torch.float64) for part in (u, v, u[:, 0])))
        for rows in chunks(len(u), 2 * (MOST_CORNERS + 1) * (u.shape[-1] + v.shape[-1]), 8):

            def oracle(
                some: Tensor, pi: Tensor, other: Tensor, u: Tensor = u[rows], v: Tensor = v[rows]
            ) -> tuple[Tensor, Tensor]:
                return self.line._potentials(Clouds(u[some], v[some], pi, other))

            here = climb(a[rows], b[rows], self._prices, oracle, self.tol, self.steps)
            for whole, part in zip(found, here, strict=True):
                whole[rows] = part
        return Ascent(*(whole.reshape(*batch, *whole.shape[1:]) for whole in found))


@takes_arrays
def unbalanced_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slicer: Slicer,
    rho: float | tuple[float, float],
    line: LineProblem | None = None,
    tol: float = 1e-4,
    steps: int = 300,
) -> tuple[Estimate, Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
    r"""Sliced transport of measures that may change their weights once, for all slices (USOT).

    $$\min_{\pi_1, \pi_2} SW_p^p(\pi_1, \pi_2) + \rho_1\,\mathrm{KL}(\pi_1 | \mu) + \rho_2\,\mathrm{KL}(\pi_2 | \nu).$$
    Each point has one new weight for all slices. So a point loses weight only if it is an outlier on many slices, and
    not if it is one on a single slice by chance. For new weights on every slice use
    ``estimate(..., line=Unbalanced(rho))``.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`, of any mass; None is 1/n each.
        b: The same for `y`.
        slicer: The slices.
        rho: Price of changing mass, > 0; see `Unbalanced`.
        line: `Balanced` or, for slices that are circles, `Circular`; the first, of order two, if None.
        tol: The largest duality gap, as a share of the objective; ``gap`` of the estimate tells it.
        steps: The largest number of corrective Frank-Wolfe steps.

    Returns:
        The estimate, whose cost holds the whole objective, and the two reweighted marginals.

    Warns:
        ConvergenceWarning: If the gap is still larger after the last step.

    Source:
        Bonet, Nadjahi, Sejourne, Fatras, Courty, Slicing unbalanced optimal transport (arXiv 2306.07176).

    Example:
        >>> import torch
        >>> from monge.sliced import LinearSlicer
        >>> x, y = torch.tensor([[0.0], [9.0]]), torch.tensor([[0.0]])
        >>> _, kept, _ = unbalanced_sliced_wasserstein(x, y, slicer=LinearSlicer(torch.ones(1, 1)), rho=1.0)
        >>> bool(kept[1] < 0.1 * kept[0])
        True
    """
    problem = Unbalanced(rho, Balanced() if line is None else line, tol, steps)  # type: ignore[arg-type]
    balanced, prices = problem.line, problem._prices
    x, y, a, b = aligned(x, y, a, b, slices=slicer._batch)
    a, b = equal_unless(a, x[..., 0]), equal_unless(b, y[..., 0])
    near, batch, n, m = slicer._prepared(Clouds(x, y).map(Tensor.detach)), x.shape[:-2], x.shape[-2], y.shape[-2]

    def oracle(rows: Tensor, pi: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        f, g = torch.zeros_like(pi), torch.zeros_like(other)
        for chunk in chunks(slicer.count, 4 * batch.numel() * (n + m), 8):
            lines = slicer._lines(near, chunk).map(lambda side: side.reshape(-1, *side.shape[-2:])[rows])
            lines = lines._replace(a=pi[:, None, :], b=other[:, None, :])
            for total, part in zip((f, g), balanced._potentials(lines), strict=True):
                total += part.sum(-2) / slicer.count
        return f, g

    with torch.no_grad():
        f, g, gap = climb(a.detach().reshape(-1, n), b.detach().reshape(-1, m), prices, oracle, tol, steps)
        dual = Dual(a, b, f.reshape(*batch, n), g.reshape(*batch, m), prices)
        kept_x, kept_y = dual.kept
    moved = averaged(Clouds(x, y, kept_x, kept_y), slicer, balanced)
    mass, penalty = kept_x.sum(-1), _penalty(dual)
    sources = (x, y, a, b, *parts_of(slicer).tensors)
    whole = Estimate(
        once((mass * moved.cost + penalty).to(x.dtype), sources, _TOLD),
        (mass[..., None] * moved.slices + penalty[..., None]).detach().to(x.dtype),
        1,
        problem.p,
        gap=gap.reshape(batch),
    )
    return whole, held(kept_x.to(x.dtype), sources, _KEPT), held(kept_y.to(x.dtype), sources, _KEPT)


def _penalty(dual: Dual) -> Tensor:
    """What the changes of mass cost, with its gradient by the weights at the marginals found: rho (1 - pi / a).

    That of a side that may not change is the gradient of the optimum, its potential: the optimum likes marginals whose
    levels meet, where the distance itself has a kink, and only the dual knows the gradient.
    """
    still = dual._replace(a=dual.a.detach(), b=dual.b.detach())
    value, (log_a, log_b, middle) = still.penalty, still._logarithms()
    others, given = (log_b, log_a), (dual.a, dual.b)
    for price, pi, w, potential, other in zip(dual.rho, still.kept, given, dual[2:4], others, strict=True):
        held = w.detach().double()
        if price < math.inf:
            gradient = price * (1 - pi / torch.where(held > 0, held, 1))
        else:
            gradient = potential + min(dual.rho) * (middle - other.logsumexp(-1, keepdim=True))
        value = value + ((w - held) * gradient).sum(-1)
    return value
