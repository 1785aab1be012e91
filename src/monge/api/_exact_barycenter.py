"""Exact barycentres on given points: a linear programme, and a proof of its answer."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from monge import kernels
from monge.errors import InfeasibleError, InputError, NotConvergedError

__all__ = ["exact_barycenter"]

# Entries of all plans together that the programme may have; it takes about a minute for so many.
_MOST = 2**19


def exact_barycenter(cost: Tensor, bins: Tensor, shares: Tensor) -> tuple[Tensor, float]:
    """The barycentre (n,) of histograms (k, m) of mass one, and its duality gap as a share of the objective.

    The programme has a plan for each histogram; the plans have common row sums q. Its dual has potentials with
    f_k + g_k <= lambda_k C and sum_k f_k >= 0. What the solver of the programme says is a proposal: f is raised until
    the sum is not negative, g becomes the largest that is feasible, and the plans from q are computed anew.
    """
    (n, m), count = cost.shape, len(bins)
    if n * m * count > _MOST:
        raise InputError(
            f"An exact barycentre of {count} histograms with costs of shape {(n, m)} has {n * m * count:,} unknowns, "
            f"more than the {_MOST:,} for which the linear programme ends in minutes: give epsilon a positive value."
        )
    q, f = _programme(cost.cpu().numpy(), bins.cpu().numpy(), shares.cpu().numpy())
    q, f = torch.from_numpy(q).to(cost), torch.from_numpy(f).to(cost)
    short = (-f.sum(0)).clamp_min(0)
    f = f + short * (shares / shares.sum())[:, None]
    priced = shares[:, None, None] * cost
    g = (priced - f[:, :, None]).amin(1)
    dual = torch.where(bins > 0, bins * g, 0.0).sum()
    i, j, w, *_ = kernels.simplex(cost, q.expand(count, n), bins)
    along = cost[i, j]
    primal = (shares * torch.where(w > 0, w * along, 0.0).sum(-1)).sum()
    scale = primal.abs() + torch.where(bins > 0, bins * g, 0.0).abs().sum()
    return q, float((primal - dual).clamp_min(0) / scale) if bool(scale > 0) else 0.0


def _programme(cost: np.ndarray, bins: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row sums and row potentials, as exact as the solver of the programme makes them."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix, hstack, identity, vstack

    (n, m), count = cost.shape, len(bins)
    i, j = np.nonzero(cost < math.inf)
    one = np.ones(len(i))
    rows, columns = (coo_matrix((one, (k, np.arange(len(i)))), shape=(s, len(i))) for k, s in ((i, n), (j, m)))
    blocks = []
    for k in range(count):
        left = [coo_matrix((n, len(i)))] * k + [rows] + [coo_matrix((n, len(i)))] * (count - k - 1)
        blocks.append(hstack([*left, -identity(n)]))
    for k in range(count):
        left = [coo_matrix((m, len(i)))] * k + [columns] + [coo_matrix((m, len(i)))] * (count - k - 1)
        blocks.append(hstack([*left, coo_matrix((m, n))]))
    # The size of costs must not decide what the solver takes for zero.
    size = np.abs(cost[i, j]).max(initial=0.0) or 1.0
    objective = np.concatenate([np.outer(shares, cost[i, j] / size).ravel(), np.zeros(n)])
    limits = np.concatenate([np.zeros(n * count), bins.ravel()])
    found = linprog(objective, A_eq=vstack(blocks).tocsr(), b_eq=limits, method="highs")
    if found.status == 2:
        raise InfeasibleError(
            "every barycentre needs pairs of infinite cost: allow more pairs in the geometry, or empty the bins that "
            "reach nothing."
        )
    if found.status != 0:
        raise NotConvergedError(
            f"The linear programme of the barycentre ended early ({found.message}): give epsilon a positive value.",
            None,
        )
    q = np.maximum(found.x[-n:], 0.0)
    return q / q.sum(), size * found.eqlin.marginals[: n * count].reshape(count, n)
