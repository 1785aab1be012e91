"""The best points for given plans, under any cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from monge.geometry import cost_between

__all__ = ["best_points"]

# Iterations of L-BFGS in each call, and targets of each point that are tried as its place.
_ITERATIONS, _TRIED = 25, 8


def best_points(cost: str | Callable, z: Tensor, targets: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    r"""Points z_i with lower $F_i(z_i) = \sum_k \sum_j P^k_{ij} c(z_i, y^k_j)$, each no worse than before.

    Where the cost has a kink, as a distance has at the targets, no gradient leads to it. So every point is also tried
    at the targets that get most of its mass.

    Args:
        cost: Its name, or a function of points.
        z: Where the points are, (n, d).
        targets: Clouds (m, d).
        parts: Their plans (n, m), times what each counts.
    """

    def losses(z: Tensor) -> Tensor:
        total = z.new_zeros(len(z))
        for y, part in zip(targets, parts, strict=True):
            total = total + torch.where(part > 0, part * cost_between(z, y, cost)._dense(), 0.0).sum(-1)
        return total

    with torch.enable_grad():
        moving = z.clone().requires_grad_()
        search = torch.optim.LBFGS([moving], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
        # A unit in which steps of one and gradients of one are usual.
        size = losses(z).sum().detach().abs().clamp_min(torch.finfo(z.dtype).tiny)

        def closure() -> Tensor:
            search.zero_grad()
            loss = losses(moving).sum() / size
            loss.backward()
            return loss

        search.step(closure)
    best, least = z, losses(z)
    everything, mass = torch.cat(list(targets)), torch.cat(list(parts), -1)
    nearest = mass.topk(min(_TRIED, mass.shape[-1]), -1).indices
    for tried in (moving.detach(), *(everything[nearest[:, k]] for k in range(nearest.shape[-1]))):
        loss = losses(tried)
        better = loss < least
        best, least = torch.where(better[:, None], tried, best), torch.where(better, loss, least)
    return best
