"""Barycentres of histograms on points that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_same, check_weights
from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.geometry import Geometry
from monge.problem.epsilon import Relative, resolve
from monge.problem.marginal import log_weights, rounding

from ._answer import warn_unless
from .barycenter import check_shares

__all__ = ["barycenter_on"]

# Sweeps at each epsilon on the way down, and the factor between one and the next.
_LEVEL_SWEEPS = 5
_LEVEL_FACTOR = 4.0
# The blur is undone slowly, as every deconvolution is; a pass for d is cheap beside the passes for all plans.
_SHARPENINGS = 8


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

    $$\min_q \sum_k \lambda_k \mathrm{OT}_\epsilon(q, b_k), \qquad q \text{ on the rows of the geometry.}$$
    Iterated Bregman projections in the log domain: with $K = e^{-C/\epsilon}$ and $u_k, v_k$ the scalings of plan k,
    $u_k = b_k / K^\top v_k$, $q = \prod_k (K u_k)^{\lambda_k}$, $v_k = q / K u_k$. Plain entropic barycentres are
    blurred by about $\sqrt{\epsilon}$; the debiased one, $q = d \prod_k (K u_k)^{\lambda_k}$ with
    $d = \sqrt{d\, q / K d}$, is not: the barycentre of equal histograms is that histogram. All sums are streamed, or
    separable on a `Grid`. Epsilon falls to its target by factors of four.

    Args:
        geometry: The cost between the points of the barycentre (rows) and those of the histograms (columns).
        histograms: K histograms of equal mass; zeros are allowed. Leading dimensions are independent problems.
        weights: How much each histogram counts, lambda, scaled to sum one; None counts all alike.
        epsilon: Strength of the entropy, positive, in units of the cost, or `relative`.
        debiased: Whether the blur is removed. Needs a square, symmetric cost: the points of the histograms.
        tol: Largest L1 error of the plans' marginals, and of d K d = q, relative to mass; None is 1e-6 in float64 and
            1e-4 below. Where the objective is flat, as for debiased barycentres with many nearly empty bins, the
            weights themselves are known less sharply.
        max_iter: Limit of the number of sweeps.

    Returns:
        The barycentre, of the mass of the histograms. It carries no gradient.

    Raises:
        InputError: If epsilon is not positive, or a histogram is negative, not finite or empty.
        InfeasibleError: If the histograms differ in mass.
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
    tol = (1e-6 if histograms.dtype == torch.float64 else 1e-4) if tol is None else tol
    check_number("tol", tol, low=0.0, high=1.0, strict=True)
    check_number("max_iter", max_iter, low=1)
    mass = _check_masses(histograms)

    target = resolve(epsilon, geometry, *(histograms.new_full((size,), 1 / size) for size in (n, m)))
    if not bool((target > 0).all()) or target.ndim:
        raise InputError(f"epsilon must be one positive number, but is {target.tolist()}: exact plans have barycenter.")
    log_b = log_weights(histograms / mass[..., None, None])
    sweep = _Sweep(geometry, log_b, shares, debiased)
    level = max(float(geometry.mean()), float(target))
    error = math.inf
    for k in range(1, int(max_iter) + 1):
        level = level if (k - 1) % _LEVEL_SWEEPS else max(level / _LEVEL_FACTOR, float(target))
        final = level == float(target) or k == max_iter
        error = sweep.advance(target if final else target.new_tensor(level))
        if not math.isfinite(error):
            raise InfeasibleError(
                "every barycentre needs pairs of infinite cost: allow more pairs in the geometry, or empty the bins "
                "that reach nothing."
            )
        if final and error <= tol:
            break
    warn_unless(
        error <= tol,
        f"The plans of the barycentre still missed their marginals by {error:.1e} after max_iter={max_iter} sweeps, "
        f"more than tol={tol:.0e}: raise max_iter, epsilon or tol.",
    )
    q = torch.exp(sweep.log_q)
    return mass[..., None] * q / q.sum(-1, keepdim=True)


class _Sweep:
    """The scalings of all plans as potentials, which keep their meaning while epsilon falls."""

    def __init__(self, geometry: Geometry, log_b: Tensor, shares: Tensor, debiased: bool) -> None:
        self.geometry, self.columns = geometry, geometry.T
        self.log_b, self.shares, self.debiased = log_b, shares[:, None], debiased
        n = geometry.shape[0]
        self.log_q = log_b.new_zeros(*log_b.shape[:-2], n)
        self.zero_rows, self.zero_columns = log_b.new_zeros(n), log_b.new_zeros(log_b.shape[-1])
        # Epsilon times log u and log d; u starts as the histogram, which is what flat scalings give.
        self.g = torch.zeros_like(log_b)
        self.d = log_b.new_zeros(*log_b.shape[:-2], n)

    def advance(self, epsilon: Tensor) -> float:
        """One projection on each constraint; the error of the columns before it, the largest of the batch."""
        log_d = self.d / epsilon
        reached = self._rows(self.log_b + self.g / epsilon, epsilon)
        self.log_q = log_d + (self.shares * reached).sum(-2)
        log_v = self.log_q[..., None, :] - reached
        met = self._columns(log_v, epsilon)
        error = (torch.exp(self.log_b + self.g / epsilon + met) - torch.exp(self.log_b)).abs().sum(-1)
        # The part of log u beside log b is the potential: it stays finite where a bin is empty.
        self.g = -epsilon * met
        return max(float(error.max()), self._sharpen(epsilon) if self.debiased else 0.0)

    def _sharpen(self, epsilon: Tensor) -> float:
        """Towards d K d = q, for the q at hand; the error before it."""
        log_d, first = self.d / epsilon, 0.0
        for k in range(_SHARPENINGS):
            blurred = log_d + self._rows(log_d[..., None, :], epsilon)[..., 0, :]
            if k == 0:
                first = float((torch.exp(blurred) - torch.exp(self.log_q)).abs().sum(-1).max())
            log_d = log_d + (self.log_q - blurred) / 2
        self.d = epsilon * log_d
        return first

    def _rows(self, log_u: Tensor, epsilon: Tensor) -> Tensor:
        """Log K u, a row of numbers for every u."""
        return -self.geometry._softmin(self.zero_columns, log_u, epsilon) / epsilon

    def _columns(self, log_v: Tensor, epsilon: Tensor) -> Tensor:
        return -self.columns._softmin(self.zero_rows, log_v, epsilon) / epsilon


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
