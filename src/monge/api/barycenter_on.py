"""Barycentres of histograms on points that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_same, check_weights
from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry
from monge.problem.epsilon import Relative, resolved_epsilon
from monge.problem.marginal import log_weights, rounding

from ._gibbs import Costs, Gibbs
from ._mixing import Mixing
from ._warned_solution import warn_unless
from .barycenter import check_shares

__all__ = ["barycenter_on"]

# The error that ends a level of epsilon on the way down, and the factor between one level and the next.
_LEVEL_TOL = 0.01
_LEVEL_FACTOR = 4.0
# The mean cost over the first epsilon.
_WIDEST = 16.0
# The blur is undone slowly, as every deconvolution is; a pass for d is cheap beside the passes for all plans. Steps
# d (p / K d)^s with s below two contract, since the eigenvalues of K, scaled to sum to one, lie in [0, 1].
_SHARPENINGS = 8
_SHARPENING = 1.5
# The weight of the gap of the objective, in units of epsilon, beside errors of marginals.
_GAP = 1e-3
# The scalings from which the search starts: how well they are known, and the share of mass that is spread everywhere.
_SELF_PASSES = 50
_SELF_TOL = 1e-7
_SPILT = 1e-4


@transformable
@torch.no_grad()
def barycenter_on(
    geometry: Geometry,
    histograms: Float[Tensor, "*b k m"],
    weights: Float[Tensor, " k"] | Sequence[float] | None = None,
    *,
    epsilon: float | Tensor | Relative,
    debiased: bool = True,
    tol: float | None = None,
    max_iter: int = 5000,
) -> Float[Tensor, "*b n"]:
    r"""The entropic barycentre of histograms, as a histogram on given points: a grid, a graph, a list of bins.

    $$\min_q \sum_k \lambda_k \mathrm{OT}_\epsilon(q, b_k), \qquad q \text{ on the rows of the geometry,}$$
    where entropy is that of the plan itself, not relative to its marginals.
    Iterated Bregman projections: with $K = e^{-C/\epsilon}$ and $u_k, v_k$ the scalings of plan k,
    $u_k = b_k / K^\top v_k$, $q = \prod_k (K u_k)^{\lambda_k}$, $v_k = q / K u_k$. Plain entropic barycentres are
    blurred by about $\sqrt{\epsilon}$; the debiased one, $q = d \prod_k (K u_k)^{\lambda_k}$ with $d K d = q$, is
    not: the barycentre of equal histograms is that histogram. Epsilon falls to its target by factors of four, and
    sweeps are mixed (Anderson). All is done in double precision, on logarithms of scalings: by products of matrices,
    one for each axis of a `Grid`, where those do not underflow, and else by sums in the log domain. The problems of a
    batch are solved one after the other, so that no answer depends on its neighbours.

    Args:
        geometry: The cost between the points of the barycentre (rows) and those of the histograms (columns).
        histograms: K histograms of equal mass; zeros are allowed. Leading dimensions are independent problems.
        weights: How much each histogram counts, lambda, scaled to sum one; None counts all alike.
        epsilon: Strength of the entropy, positive, in units of the cost, or `relative`.
        debiased: Whether the blur is removed. Needs a square, symmetric cost: the points of the histograms.
        tol: Largest L1 error of the plans' marginals, and of d K d = q, relative to mass, and a thousandth of what a
            debiased objective may be above its minimum, in units of epsilon; None is 1e-6, and 1e-4 if debiased.
            Where the objective is flat, as for debiased barycentres with many nearly empty bins, the weights
            themselves are known less sharply.
        max_iter: Limit of the number of sweeps.

    Returns:
        The barycentre, of the mass of the histograms. It carries no gradient.

    Raises:
        InputError: If epsilon is not positive, a histogram is negative, not finite or empty, or a debiased barycentre
            is asked of a cost that is not symmetric.
        InfeasibleError: If the histograms differ in mass, or every barycentre needs forbidden pairs.
        ShapeError: If they do not fit the geometry.

    Warns:
        ConvergenceWarning: If the tolerance was not met after ``max_iter`` sweeps.

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
    n, m = _check_shapes(geometry, histograms, debiased)
    shares = check_shares("weights", weights, histograms.shape[-2], histograms)
    tol = (1e-4 if debiased else 1e-6) if tol is None else tol
    check_number("tol", tol, low=0.0, high=1.0, strict=True)
    check_number("max_iter", max_iter, low=1)
    mass = _check_masses(histograms)
    costs = Costs(geometry)
    if debiased and (asymmetry := costs.asymmetry()) > rounding(geometry.dtype):
        raise InputError(
            f"geometry must be symmetric, C_ij = C_ji, for a debiased barycentre, but its costs differ by "
            f"{asymmetry:.1e} of the largest: give both sides the same points in one order, or pass debiased=False."
        )
    target = resolved_epsilon(
        epsilon, costs.geometry, *(shares.new_full((size,), 1 / size).double() for size in (n, m))
    )
    if not bool((target > 0).all()) or target.ndim:
        raise InputError(f"epsilon must be one positive number, but is {target.tolist()}: exact plans have barycenter.")
    # A measure of no share has no say, not even where the barycentre may lie.
    counted = shares > 0
    bins = (histograms.double() / mass[..., None, None].double())[..., counted, :].reshape(-1, int(counted.sum()), m)
    # One after the other, so that no answer depends on its neighbours.
    found = [_search(costs, one, shares[counted].double(), float(target), debiased, tol, int(max_iter)) for one in bins]
    error = max(one.error for one in found)
    warn_unless(
        error <= tol,
        f"The plans of the barycentre still missed their marginals by {error:.1e} after max_iter={max_iter} sweeps, "
        f"more than tol={tol:.0e}: raise max_iter, epsilon or tol.",
    )
    q = torch.stack([torch.exp(one.log_q) for one in found]).reshape(*histograms.shape[:-2], n)
    return (mass[..., None] * q).to(histograms.dtype)


class _Swept(NamedTuple):
    """What one sweep finds: where it leads, how residuals are weighed, the barycentre, and its error."""

    image: Tensor
    weights: Tensor
    log_q: Tensor
    error: float


def _search(
    costs: Costs, bins: Tensor, shares: Tensor, target: float, debiased: bool, tol: float, max_iter: int
) -> _Swept:
    """Sweeps, mixed, while epsilon falls to its target; the last one is at the target in any case."""
    # Each level takes a sweep at least.
    levels, spent = _levels(costs.mean() / _WIDEST, target)[-max_iter:], 0
    beyond = bins.new_zeros(())
    for k, level in enumerate(levels, 1):
        sweep = _Sweep(Gibbs(costs, level), bins, shares, debiased)
        # What keeps its meaning while epsilon falls is how far the potentials are from those of no transport.
        start = sweep.start()
        z, mixing, goal = start + beyond / level, Mixing(), tol if k == len(levels) else _LEVEL_TOL
        while True:
            swept, spent = sweep(z), spent + 1
            if not math.isfinite(swept.error):
                raise InfeasibleError(
                    "every barycentre needs pairs of infinite cost: allow more pairs in the geometry, or empty the "
                    "bins that reach nothing."
                )
            if swept.error <= goal or spent >= max_iter - (len(levels) - k):
                break
            z = mixing.next(z, swept.image, swept.weights, swept.error)
        beyond = level * (swept.image - start)
    return swept


def _levels(widest: float, target: float) -> list[float]:
    """Epsilons from the widest to the target, evenly apart."""
    count = max(0, math.ceil(math.log(widest / target, _LEVEL_FACTOR))) if widest > target else 0
    return [*(target * (widest / target) ** (1 - k / count) for k in range(count)), target]


class _Sweep:
    """One projection on each constraint, at one epsilon.

    A state z holds the logarithms of the scalings: of each plan's columns, relative to the histogram so that they stay
    finite where a bin is empty, and of d if the blur is removed.
    """

    def __init__(self, kernel: Gibbs, bins: Tensor, shares: Tensor, debiased: bool) -> None:
        self.kernel, self.bins, self.log_b, self.debiased = kernel, bins, log_weights(bins), debiased
        self.shares = shares[:, None]
        self.weights = (self.shares * bins).flatten()

    def start(self) -> Tensor:
        """The scalings of every histogram with itself, and of their mean: right if all are one; flat if blurred."""
        if not self.debiased:
            return torch.zeros_like(self.weights)
        mean = (self.shares * self.bins).sum(0)
        # A bin that starts empty would stay so.
        log = torch.cat([self.log_b, torch.log((1 - _SPILT) * mean + _SPILT / len(mean))[None]])
        scaling = torch.zeros_like(log)
        for _ in range(_SELF_PASSES):
            change = scaling + self.kernel.rows(log + scaling)
            scaling = scaling - change / 2
            if float((torch.exp(log) * torch.expm1(change).abs()).sum(-1).max()) <= _SELF_TOL:
                break
        scaling = torch.where(log > -math.inf, scaling, 0.0)
        return torch.cat([scaling[:-1].flatten(), scaling[-1] + log[-1]])

    def __call__(self, z: Tensor) -> _Swept:
        """The image of z, and how far the barycentre on the way is from its plans."""
        count = self.bins.numel()
        log_u = z[:count].unflatten(-1, self.bins.shape)
        reached = self.kernel.rows(self.log_b + log_u)
        log_q = (self.shares * reached).sum(0)
        scaling, error = z[count:], 0.0
        if self.debiased:
            scaling, blurred = self._sharpened(scaling, log_q)
            log_q = log_q + scaling
        # The mass is one: left free, it would turn from one sweep to the next for ever.
        scale = log_q.logsumexp(-1)
        log_q = log_q - scale
        q = torch.exp(log_q)
        if self.debiased:
            error = float((torch.exp(scaling + blurred) - q).abs().sum())
            # Bins where mass would grow, however little they hold now: the objective is at most epsilon times the
            # largest rate above its minimum. Without this, mass in one wrong bin would look like an answer.
            error = max(error, _GAP * float((log_q - scaling - blurred).max()))
        log_v = torch.where(log_q > -math.inf, log_q - reached, -math.inf)
        met = self.kernel.columns(log_v)
        error = max(error, float((self.bins * torch.expm1(log_u + met).abs()).sum(-1).max()))
        image = torch.where(self.bins > 0, -met, 0.0).flatten()
        weights = torch.cat([self.weights, q + _SPILT / len(q)]) if self.debiased else self.weights
        return _Swept(torch.cat([image, scaling]), weights, log_q, error)

    def _sharpened(self, log_d: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
        """Some steps towards K d = p; then d, scaled to <d, K d> = 1, and K d."""
        blurred = self.kernel.rows(log_d)
        for _ in range(_SHARPENINGS):
            log_d = log_d + _SHARPENING * (log_p - blurred)
            blurred = self.kernel.rows(log_d)
        scale = (log_d + blurred).logsumexp(-1) / 2
        return log_d - scale, blurred - scale


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


def _check_masses(histograms: Tensor) -> Tensor:
    masses = histograms.sum(-1)
    if bool(((masses - masses[..., :1]).abs() > rounding(masses.dtype) * masses).any()):
        raise InfeasibleError(
            f"histograms must have the same mass, but theirs range from {float(masses.min()):.9g} to "
            f"{float(masses.max()):.9g}: normalise them."
        )
    return masses[..., 0]
