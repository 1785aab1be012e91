"""Barycentres of histograms on points that stay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_same, check_weights
from monge._users_arrays import takes_arrays
from monge.errors import ConvergenceWarning, InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry
from monge.problem import Linear
from monge.problem.epsilon import Relative
from monge.problem.marginal import log_weights

from ._exact_barycenter import exact_barycenter
from ._gibbs import Costs, Gibbs, check_symmetric
from ._measures import check_masses
from ._momentum import Momentum
from ._unbalanced_barycenter import unbalanced_barycenter
from .barycenter import check_shares

__all__ = ["barycenter_on"]

# Iterations from one look at the errors to the next.
_LOOK = 4
# Temperatures at which the gap is bounded.
_TEMPERATURES = 12
# What plans cost, in units of epsilon, below which a gap of the objective is rounding.
_ROUNDING = 1e-8


@takes_arrays
@torch.no_grad()
def barycenter_on(
    geometry: Geometry,
    histograms: Float[Tensor, "*b k m"],
    weights: Float[Tensor, " k"] | Sequence[float] | None = None,
    *,
    epsilon: float | Tensor | Relative,
    rho: float | None = None,
    debiased: bool | None = None,
    tol: float | None = None,
    max_iter: int = 5000,
) -> Float[Tensor, "*b n"]:
    r"""The barycentre of histograms, as a histogram on given points: a grid, a graph, a list of bins.

    $$\min_q \sum_k \lambda_k \mathrm{OT}_\epsilon(q, b_k), \qquad q \text{ on the rows of the geometry,}$$
    where the entropy is that of the plan itself, not relative to its marginals.
    The method is that of iterated Bregman projections. With $K = e^{-C/\epsilon}$ and the scalings $u_k, v_k$ of plan
    k, it repeats $u_k = b_k / K^\top v_k$, $q = d \prod_k (K u_k)^{\lambda_k}$, $v_k = q / K u_k$, where d = 1. This
    plain barycentre is blurred by about $\sqrt{\epsilon}$. The debiased one, with $d K d = q$, is not blurred: it
    minimises the mean Sinkhorn divergence, and the barycentre of equal histograms is the histogram itself. Momentum
    makes the iterations faster, and is limited where it fails. Everything is computed in double precision, on
    logarithms of the scalings: by products of matrices, one for each axis of a `Grid`, if these do not underflow, and
    otherwise by sums of exponentials. The problems of a batch are solved one after the other, so that no answer
    depends on the other problems.

    With ``epsilon=0`` the barycentre is exact, by a linear programme of at most half a million unknowns, one for each
    pair and histogram. With ``rho``, plans may miss both marginals at the price of `Relaxed`,
    $$\min_{q, P_k} \sum_k \lambda_k \left[\langle C, P_k\rangle + \epsilon \sum_{ij} (P_k \log P_k - P_k)_{ij} +
    \rho\, \mathrm{KL}(P_k 1 | q) + \rho\, \mathrm{KL}(P_k^\top 1 | b_k)\right],$$
    so that the histograms may differ in mass. Both answers are measured by their duality gap.

    Args:
        geometry: The cost between the points of the barycentre (rows) and those of the histograms (columns).
        histograms: K histograms, of equal mass unless ``rho`` is given; zeros are allowed. Leading dimensions are
            independent problems.
        weights: How much each histogram counts, lambda, scaled to sum one; with None all count the same.
        epsilon: Strength of the entropy in units of the cost, or `relative`; zero is exact.
        rho: Price of missing a marginal, in units of the cost; None keeps all marginals.
        debiased: Whether the blur is removed. This needs a square and symmetric cost, between the points of the
            histograms. None removes it where there is entropy and no ``rho``.
        tol: For an exact or an unbalanced barycentre, the largest duality gap, as a share of the objective. Else the
            largest L1 error of the marginals of the plans, relative to mass; None is 1e-4. A debiased barycentre must
            meet a second condition: by its gradient at q, the objective is at most this much above that of any
            histogram p with $\mathrm{KL}(p \mid q) \le 1$, as a share of the cost of the plans. Where the objective
            hardly changes, as for debiased barycentres with many nearly empty bins, the weights are less accurate.
        max_iter: Limit of the number of iterations.

    Returns:
        The barycentre, of the mass of the histograms unless ``rho`` is given. It carries no gradient.

    Raises:
        InputError: If epsilon is negative, a histogram is negative, not finite or empty, a debiased barycentre is asked
            of a cost that is not symmetric or together with ``rho``, or an exact one has too many unknowns.
        InfeasibleError: If the histograms differ in mass, or every barycentre needs forbidden pairs.
        ShapeError: If they do not fit the geometry.

    Warns:
        ConvergenceWarning: If the tolerance was not met after ``max_iter`` iterations.

    Example:
        >>> import torch
        >>> import monge
        >>> bins = torch.eye(9)[[1, 7]]
        >>> middle = monge.barycenter_on(monge.geometry.Grid((9,)), bins, epsilon=0.5)
        >>> int(middle.argmax())
        4

    Source: Benamou et al., Iterative Bregman projections for regularized transportation problems (arXiv 1412.5154);
        Janati, Cuturi, Gramfort, Debiased Sinkhorn barycenters (arXiv 2006.02575).
    """
    if isinstance(epsilon, Relative):
        entropic = True
    else:
        entropy = epsilon.tolist() if isinstance(epsilon, Tensor) else epsilon
        if isinstance(entropy, list):
            raise InputError(f"epsilon must be one number, but is {entropy}: solve the problems one after the other.")
        check_number("epsilon", entropy, low=0.0)
        entropic = entropy > 0
    debiased = _check_debiased(debiased, entropic, rho)
    n, m = _check_shapes(geometry, histograms, debiased)
    shares = check_shares("weights", weights, histograms.shape[-2], histograms)
    tol = 1e-4 if tol is None else tol
    check_number("tol", tol, low=0.0, high=1.0, strict=True)
    check_number("max_iter", max_iter, low=1)
    masses = histograms.sum(-1)
    if rho is None:
        check_masses("histograms", masses)
    # The entropy of a plan depends on the unit of mass, which is that of the histograms where masses may differ.
    mass = masses[..., 0] if rho is None else torch.ones_like(masses[..., 0])
    costs = Costs(geometry)
    if debiased:
        check_symmetric(geometry, costs.asymmetry(), "a debiased barycentre", ", or pass debiased=False")
    if isinstance(epsilon, Relative):
        epsilon = Linear(costs.geometry, epsilon=epsilon).epsilon
    # A measure of no share has no say, not even where the barycentre may lie.
    counted = shares > 0
    bins = (histograms.double() / mass[..., None, None].double())[..., counted, :].reshape(-1, int(counted.sum()), m)
    share = shares[counted].double()
    # One after the other, so that no answer depends on its neighbours.
    if not entropic:
        matrix = costs.geometry._dense()
        found = [exact_barycenter(matrix, one, share) for one in bins]
    else:
        kernel = Gibbs(costs, float(epsilon))
        if rho is None:
            found = [_Search(kernel, one, share, debiased).run(tol, int(max_iter)) for one in bins]
        else:
            found = [unbalanced_barycenter(kernel, one, share, float(rho), tol, int(max_iter)) for one in bins]
    _warn([error for _, error in found], tol, max_iter, balanced=entropic and rho is None)
    q = torch.stack([one for one, _ in found]) if found else bins.new_zeros(0, n)
    return (mass[..., None] * q.reshape(*histograms.shape[:-2], n)).to(histograms.dtype)


def _warn(errors: list[float], tol: float, max_iter: int, *, balanced: bool) -> None:
    late = [error for error in errors if not error <= tol]
    if late:
        what = (
            "plans of the barycentre still missed their marginals, or the least objective,"
            if balanced
            else ("barycentre still misses the least objective")
        )
        warnings.warn(
            f"The {what} by {max(late):.1e} after max_iter={max_iter} iterations, more than tol={tol:.0e}: raise "
            "max_iter, epsilon or tol.",
            ConvergenceWarning,
            stacklevel=5,
        )


def _check_debiased(debiased: bool | None, entropic: bool, rho: float | None) -> bool:
    """Whether the blur is removed, where that is possible."""
    if rho is not None:
        check_number("rho", rho, low=0.0, strict=True)
        if not entropic:
            raise InputError(
                f"rho={rho:g} needs a positive epsilon: an unbalanced barycentre is found by scalings, not by a linear "
                "programme."
            )
        if debiased:
            raise InputError(
                f"debiased=True and rho={rho:g} contradict each other: leave debiased out, and choose a small epsilon."
            )
        return False
    return entropic if debiased is None else bool(debiased) and entropic


class _Swept(NamedTuple):
    """What one iteration finds: where it leads, the barycentre on the way, and what the errors are measured from."""

    image: Tensor
    q: Tensor
    # Log K u.
    reached: Tensor
    # Of a debiased barycentre its logarithm, up to a constant, and the gradient of the objective in units of epsilon.
    log_q: Tensor | None = None
    gradient: Tensor | None = None


class _Search:
    """Iterations at one epsilon, with momentum.

    The state z holds the logarithms of the v_k; log d is their mean.
    """

    def __init__(self, kernel: Gibbs, bins: Tensor, shares: Tensor, debiased: bool) -> None:
        self.kernel, self.bins, self.shares, self.debiased, self.absent = kernel, bins, shares, debiased, None
        if kernel.costs.spread < math.inf:
            return
        # Bins out of reach of a whole histogram.
        self.absent = (kernel.rows(log_weights(bins)) == -math.inf).any(0)
        stuck = kernel.columns(self.where_reached(bins.new_zeros(kernel.costs.geometry.shape[0]))) == -math.inf
        if bool((stuck & (bins > 0)).any()):
            raise InfeasibleError(
                "every barycentre needs pairs of infinite cost: allow more pairs in the geometry, or empty the bins "
                "that reach nothing."
            )

    def run(self, tol: float, max_iter: int) -> tuple[Tensor, float]:
        """The barycentre, and its error."""
        if self.debiased and bool((self.bins == self.bins[0]).all()):
            return self.bins[0], 0.0
        z = self.bins.new_zeros(len(self.bins), self.kernel.costs.geometry.shape[0])
        momentum = Momentum(z)
        for k in range(1, max_iter + 1):
            swept = self.iteration(z)
            if k % _LOOK == 0 or k in (1, max_iter):
                error = self.missed(swept, z)
                # Not the gap, which leaps where an almost empty bin is about to fill or to empty.
                if error > tol and momentum.failed(swept.image, error):
                    z = momentum.best
                    continue
                if error <= tol or k == max_iter:
                    error = max(error, self.gap(swept, z))
                if error <= tol:
                    break
            z = momentum.next(z, swept.image, self.shares[:, None] * swept.q)
        return swept.q, error

    def iteration(self, z: Tensor) -> _Swept:
        """One projection on each constraint."""
        log_d = self.where_reached(self.shares @ z) if self.debiased else None
        reached, blurred = self.kernel.through(self.where_reached(z), self.bins, log_d)
        reached = self.where_reached(reached, 0.0)
        mean = self.shares @ reached
        if log_d is None or blurred is None:
            return _Swept(mean - reached, self.where_reached(mean).softmax(-1), reached)
        log_q, gradient = log_d + blurred, self.where_reached(blurred, 0.0) - mean
        q = log_q.softmax(-1)
        # Constants have no meaning, and left alone they would grow.
        gradient = gradient - torch.dot(q, gradient)
        image = (log_d - log_q.amax() / 2).sub_(gradient, alpha=0.5).add_(mean) - reached
        return _Swept(image, q, reached, log_q, gradient)

    def where_reached(self, log: Tensor, absent: float = -math.inf) -> Tensor:
        """A state or a sum, with a number of its own for bins that nothing reaches."""
        return log if self.absent is None else log.masked_fill(self.absent, absent)

    def missed(self, swept: _Swept, z: Tensor) -> float:
        """The largest error of a marginal."""
        return float((self.where_reached(z + swept.reached).exp_() - swept.q).abs_().sum(-1).max())

    def gap(self, swept: _Swept, z: Tensor) -> float:
        """The gap of the objective as a share of what the plans cost; plain iterations have none."""
        if swept.log_q is None or swept.gradient is None:
            return 0.0
        log_q = swept.log_q.log_softmax(-1)
        log_u, log_v = -self.kernel.columns(self.where_reached(z)), self.shares @ z - log_q
        cost = float(self.shares @ torch.where(self.bins > 0, self.bins * log_u, 0.0).sum(-1))
        cost += float(torch.where(swept.q > 0, swept.q * log_v, 0.0).sum()) - self.kernel.least
        return _gap(log_q, swept.gradient) / (max(cost, 0.0) + _ROUNDING)


def _gap(log_q: Tensor, gradient: Tensor) -> float:
    """By how much <gradient, p> is less than <gradient, q> = 0 at most, for histograms p with KL(p | q) <= 1.

    Any temperature t gives a bound, t + t log <q, exp(-gradient / t)>, and some are tried.
    """
    worst = -gradient.amin()
    # The best temperature is about the deviation, or higher where an almost empty bin has a steep gradient.
    deviation = (torch.exp(log_q) * gradient.square()).sum().sqrt().clamp(min=torch.finfo(gradient.dtype).tiny)
    ladder = torch.linspace(0, 1, _TEMPERATURES, dtype=gradient.dtype, device=gradient.device)
    temperatures = deviation * (worst / deviation).clamp(min=1.0) ** ladder
    bounds = temperatures * (1 + torch.logsumexp(log_q - gradient / temperatures[:, None], -1))
    return float(torch.minimum(bounds.amin(), worst).clamp(min=0))


def _check_shapes(geometry: Any, histograms: Any, debiased: bool) -> tuple[int, int]:
    if not isinstance(geometry, Geometry):
        raise InputError(
            f"geometry must be a cost such as Grid((64, 64)), but is {type(geometry).__name__}: clouds, whose points "
            "may move, have barycenter(measures)."
        )
    n, m = geometry.shape
    if not isinstance(histograms, Tensor) or histograms.ndim < 2 or histograms.shape[-1] != m:
        told = tuple(histograms.shape) if isinstance(histograms, Tensor) else type(histograms).__name__
        raise ShapeError(
            f"histograms must have shape (*batch, k, {m}), one weight for each column of the geometry, but are {told}: "
            "flatten images with .flatten(-2)."
        )
    check_weights("histograms", histograms, m)
    check_same(geometry=torch.empty(0, dtype=geometry.dtype, device=geometry.device), histograms=histograms)
    if geometry.batch_shape:
        raise ShapeError(
            f"geometry must be one cost for all histograms, but is a batch of shape {tuple(geometry.batch_shape)}: "
            "index it, as in geometry[0]."
        )
    if debiased and n != m:
        raise ShapeError(
            f"The debiased barycentre lives on the points of the histograms, but geometry has shape {(n, m)}: "
            "pass debiased=False."
        )
    return n, m
