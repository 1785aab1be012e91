"""Unbalanced entropic barycentres on given points: scalings, and a duality gap that says how good they are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from monge.problem.marginal import log_weights, pairing

from ._gibbs import Gibbs

__all__ = ["unbalanced_barycenter"]

# Iterations from one look at the gap to the next.
_LOOK = 10


class _Point(NamedTuple):
    """Potentials of both sides in units of epsilon, and the barycentre that they imply."""

    f: Tensor
    g: Tensor
    q: Tensor


def unbalanced_barycenter(
    kernel: Gibbs, bins: Tensor, shares: Tensor, rho: float, tol: float, max_iter: int
) -> tuple[Tensor, float]:
    r"""The barycentre (n,) of histograms (k, m) of any masses, and its duality gap as a share of the objective.

    $$\min_{q, P_k} \sum_k \lambda_k \left[\langle C, P_k\rangle + \epsilon \sum_{ij} (P_k \log P_k - P_k)_{ij}
    + \rho \mathrm{KL}(P_k 1 | q) + \rho \mathrm{KL}(P_k^\top 1 | b_k)\right].$$
    For given row sums r_k the best q is their mean $\sum_k \lambda_k r_k$. So the dual asks that
    $\sum_k \lambda_k e^{-f_k / \rho} \le 1$ in every bin, and is
    $$\sum_k \lambda_k \left[\rho \langle b_k, 1 - e^{-g_k / \rho}\rangle
    - \epsilon \sum_{ij} e^{(f_k + g_k - C) / \epsilon}\right].$$
    Each half-step maximises it over one side, with $\omega = \rho / (\rho + \epsilon)$:
    $u_k = (b_k / K^\top v_k)^\omega$, $q^{1 - \omega} = \sum_k \lambda_k (K u_k)^{1 - \omega}$,
    $v_k = (q / K u_k)^\omega$.
    """
    power, log_b, log_shares = rho / (rho + kernel.epsilon), log_weights(bins), shares.log()[:, None]
    log_v = bins.new_zeros(len(bins), kernel.costs.geometry.shape[0])
    best, error = bins.new_zeros(log_v.shape[1]), math.inf
    for k in range(1, max_iter + 1):
        log_u = power * (log_b - kernel.columns(log_v))
        log_u = torch.where(bins > 0, log_u, -math.inf)
        reached = kernel.rows(log_u)
        log_q = torch.logsumexp(log_shares + (1 - power) * reached, 0) / (1 - power)
        log_v = torch.where(reached > -math.inf, power * (log_q - reached), -math.inf)
        if k % _LOOK == 0 or k == max_iter:
            found = _gap(kernel, bins, shares, rho, _Point(log_v, log_u, log_q.exp()))
            if found < error:
                best, error = log_q.exp(), found
            if error <= tol:
                break
    return best, error


def _gap(kernel: Gibbs, bins: Tensor, shares: Tensor, rho: float, point: _Point) -> float:
    """Primal less dual at plans from potentials that are made feasible, as a share of what the primal is a sum of."""
    epsilon = kernel.epsilon
    f = epsilon * point.f
    level = rho * torch.logsumexp(shares.log()[:, None] - f / rho, 0)
    f = f + torch.where(level.isfinite(), level, 0.0).clamp_min(0.0)
    g = epsilon * point.g
    row = (f / epsilon + kernel.rows(point.g)).exp()
    col = (point.g + kernel.columns(f / epsilon)).exp()
    q, mass = shares @ row, row.sum(-1)
    # <C, P> + epsilon <P, log P> = <f, r> + <g, c>.
    moved = pairing(row, f) + pairing(col, g)
    priced = rho * (_divergence(row, q) + _divergence(col, bins))
    primal = moved - epsilon * mass + priced
    dual = rho * torch.where(bins > 0, -bins * torch.expm1(-g / rho), 0.0).sum(-1) - epsilon * mass
    scale = (moved.abs() + priced + epsilon * mass) @ shares
    return float((shares @ (primal - dual)).abs() / scale) if bool(scale > 0) else math.inf


def _divergence(mu: Tensor, to: Tensor) -> Tensor:
    """KL(mu | to) of unnormalised weights."""
    return (torch.special.xlogy(mu, mu) - torch.where(mu > 0, mu * log_weights(to), 0.0) - mu + to).sum(-1)
