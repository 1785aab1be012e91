"""The potentials that prove an exact plan optimal, found from the plan itself or checked against it."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor

from monge import kernels
from monge._arrays import broadcast_shapes
from monge.errors import InputError, ShapeError

from .base import Coupling

Potentials = tuple[Tensor, Tensor]


@torch.no_grad()
def optimal_potentials(P: Coupling) -> Potentials:
    """Potentials of the cost that the plan was made for, between the marginals that it has.

    A part of an optimal plan is optimal between its own marginals, so that partial and unbalanced exact plans have
    potentials as well. By complementary slackness those of one optimal plan prove all others. The simplex starts at the
    entries of the plan: of an optimal one, only the basis has to be completed.

    Raises:
        InputError: If the plan is not optimal.
    """
    exact, dtype = P.detach().to(torch.float64), P.dtype
    n, m = P._shape()[-2:]
    batch = broadcast_shapes(P._shape()[:-2])
    places = list(product(*(range(size) for size in batch)))
    found = [_of_problem(exact[at] if batch else exact) for at in places]
    f, g = (
        torch.stack(sides).reshape(*batch, size) for sides, size in zip(zip(*found, strict=True), (n, m), strict=True)
    )
    _prove(exact, f, g, math.sqrt(torch.finfo(dtype).eps))
    return f.to(dtype), g.to(dtype)


def _of_problem(P: Coupling) -> Potentials:
    geometry = P.geometry
    assert geometry is not None
    pairs = geometry._pairs()
    cost = pairs if isinstance(pairs, kernels.Points) else geometry.dense()
    row, col = P.marginals()
    start, entries = None, P._entries()
    if entries is not None:
        i, j, w = entries
        held = w > 0
        start = kernels.Basis(i[held], j[held], w[held], torch.zeros_like(row), torch.zeros_like(col))
    basis = kernels.simplex(cost, row, col, start=start)
    return basis.f, basis.g


@torch.no_grad()
def check_potentials(P: Coupling, potentials: Any) -> Potentials:
    """``potentials`` must be a pair (f, g) that proves the plan optimal for its cost."""
    n, m = P._shape()[-2:]
    if not isinstance(potentials, tuple) or len(potentials) != 2:
        raise InputError(f"potentials must be a pair (f, g) of tensors, but is {type(potentials).__name__}.")
    for name, side, size in (("f", potentials[0], n), ("g", potentials[1], m)):
        if not isinstance(side, Tensor) or side.ndim < 1 or side.shape[-1] != size:
            told = tuple(side.shape) if isinstance(side, Tensor) else type(side).__name__
            raise ShapeError(
                f"potentials must be f of shape (*batch, {n}) and g of shape (*batch, {m}); {name} is {told}."
            )
    f, g = (side.detach().to(P.dtype) for side in potentials)
    exact = P.detach().to(torch.float64)
    _prove(exact, f.double(), g.double(), math.sqrt(torch.finfo(P.dtype).eps))
    return f, g


def _prove(P: Coupling, f: Tensor, g: Tensor, tolerance: float) -> None:
    """Feasible potentials whose value is the cost of the plan; what carries no mass does not count."""
    geometry = P.geometry
    assert geometry is not None
    row, col = P.marginals()
    f, g = f.masked_fill(row <= 0, 0), g.masked_fill(col <= 0, 0)
    least, _ = geometry._ctransform(g.masked_fill(col <= 0, -math.inf))
    scale = f.abs().amax(-1) + g.abs().amax(-1)
    broken = (f - least).masked_fill(row <= 0, -math.inf).amax(-1)
    cost, bound = P.transport_cost(), (row * f).sum(-1) + (col * g).sum(-1)
    missed = (cost - bound) / row.sum(-1)
    limit = tolerance * scale.clamp_min(torch.finfo(f.dtype).tiny)
    if not bool(((broken <= limit) & (missed.abs() <= limit)).all()):
        raise InputError(
            f"method='brenier' needs a plan that is optimal for its cost and potentials that prove it, but a unit of "
            f"mass costs up to {float(missed.abs().max()):.3g} more than they prove, and they exceed costs by up to "
            f"{float(broken.clamp_min(0).max()):.3g}: use method='nearest', or solve with epsilon=0."
        )
