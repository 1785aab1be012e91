"""The questions a geometry answers, streamed over row blocks of its cost: nothing of size n x m stays alive.

Each block is checkpointed, so that a backward pass computes it again instead of keeping it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._arrays import broadcast_shapes, column, log_sum_exp, pieces, working_dtype
from monge._blocks import added, joined, rows_at_once

if TYPE_CHECKING:
    from .base import Geometry


def column_bias(g: Float[Tensor, "*b m"], log_b: Float[Tensor, "*b m"], epsilon: float | Tensor) -> Tensor:
    """The bias log b + g / epsilon, and -inf wherever the weight is zero, whatever the potential is there."""
    absent = log_b == -math.inf
    return (log_b + g.masked_fill(absent, 0) / column(epsilon)).masked_fill(absent, -math.inf)


def row_blocks(geometry: Geometry, *others: Tensor | None) -> list[slice]:
    """Slices of rows whose blocks take a few megabytes an array."""
    leading = (other.shape[:-1] for other in others if other is not None)
    return pieces(geometry.shape[0], rows_at_once(geometry, broadcast_shapes(geometry.batch_shape, *leading)))


def _score(cost: Tensor, bias: Tensor, epsilon: float | Tensor) -> Tensor:
    """bias_j - C_ij / epsilon; -inf where the cost forbids the pair, with derivatives zero there."""
    cost = cost.to(working_dtype(cost.dtype, bias.dtype))
    if not derives(epsilon):
        return bias[..., None, :] - cost / column(epsilon, 2)
    # The derivative by epsilon would multiply an infinite cost by a mass of zero.
    forbidden = cost == math.inf
    cost = cost.masked_fill(forbidden, 0)
    return (bias[..., None, :] - cost / column(epsilon, 2)).masked_fill(forbidden, -math.inf)


def softmin(geometry: Geometry, bias: Float[Tensor, "*b m"], epsilon: float | Tensor) -> Float[Tensor, "*b n"]:
    """-epsilon log sum_j exp(bias_j - C_ij / epsilon), +inf where no column is left."""
    geometry = geometry._wide()

    def body(rows: slice) -> Tensor:
        total, empty = log_sum_exp(_score(geometry._block(rows), bias, epsilon))
        return (-column(epsilon) * total).masked_fill(empty, math.inf)

    return joined(body, row_blocks(geometry, bias), -1)


def apply(
    geometry: Geometry,
    row: Float[Tensor, "*b n"] | None,
    col: Float[Tensor, "*b m"],
    v: Float[Tensor, "*b m k"],
    epsilon: float | Tensor,
) -> Float[Tensor, "*b n k"]:
    """Sums over j of exp(row_i + col_j - C_ij / epsilon) v_jk; without ``row``, divided by the row sum."""
    geometry = geometry._wide()

    def body(rows: slice) -> Tensor:
        score = _score(geometry._block(rows), col, epsilon)
        if row is None:
            total, _ = log_sum_exp(score)
            score = score - total[..., None]
        else:
            score = score + row[..., rows, None]
        weights = score.exp()
        return weights @ v.to(weights.dtype)

    return joined(body, row_blocks(geometry, row, col, v[..., 0]), -2)


def inner(
    geometry: Geometry, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"], epsilon: float | Tensor
) -> Float[Tensor, "*b"]:
    """<P, C> for P_ij = exp(row_i + col_j - C_ij / epsilon)."""
    geometry = geometry._wide()

    def body(rows: slice) -> Tensor:
        cost = geometry._block(rows)
        plan = (_score(cost, col, epsilon) + row[..., rows, None]).exp()
        return (plan * cost.masked_fill(cost == math.inf, 0)).sum((-1, -2))

    return added(body, row_blocks(geometry, row, col))


def derives(*inputs: float | Tensor) -> bool:
    """Whether anything computed from these tensors would be followed by autograd."""
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in inputs)


def gradients(
    pairs: kernels.Points, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"], epsilon: float | Tensor
) -> Float[Tensor, "*b k d"]:
    """Terms whose sum is <P, C>, without gradient, for a cost that is a power of a norm.

    Such a cost is homogeneous, <x, dC/dx> + <y, dC/dy> = power C (Euler), and the gradients of the mass of P by the
    points are those sums over P.
    """
    batch = broadcast_shapes(pairs.batch_shape, row.shape[:-1], col.shape[:-1])
    # Norms do not see a common shift; without it the terms are larger than they need be.
    centre = pairs.y.mean(-2, keepdim=True)
    x = (pairs.x - centre).expand(*batch, *pairs.x.shape[-2:]).detach().requires_grad_()
    y = (pairs.y - centre).expand(*batch, *pairs.y.shape[-2:]).detach().requires_grad_()
    with torch.enable_grad():
        shifted = kernels.Points(x, y, pairs.kind, pairs.p, pairs.power)
        mass = kernels.apply(shifted, row, col, torch.ones_like(col)[..., None], epsilon)
        by_x, by_y = torch.autograd.grad(mass.sum(), (x, y))
    scale = -column(epsilon, 2) / pairs.power
    return scale * torch.cat([x.detach() * by_x, y.detach() * by_y], -2)


def resolved(terms: Tensor) -> Tensor | None:
    """The sum of terms, if in no problem of a batch it loses digits that are not to spare.

    Terms cancel when mass moves over distances small beside the clouds; then every difference has to be formed.
    """
    total = terms.sum((-1, -2))
    lost = 16 * torch.finfo(terms.dtype).eps * terms.detach().abs().sum((-1, -2))
    spare = 1e-10 if terms.dtype == torch.float64 else 1e-4
    return total if bool((lost <= spare * total.detach().abs()).all()) else None


def mean(geometry: Geometry, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> tuple[Tensor, Tensor]:
    """The sum of a_i b_j C_ij over finite costs, and of a_i b_j over the same pairs."""
    geometry = geometry._wide()

    def body(rows: slice) -> Tensor:
        cost = geometry._block(rows).to(a.dtype)
        allowed = cost != math.inf
        parts = cost.masked_fill(~allowed, 0), allowed.to(a.dtype)
        return torch.stack([(a[..., None, rows] @ part @ b[..., None])[..., 0, 0] for part in parts])

    total, mass = added(body, row_blocks(geometry, a, b))
    return total, mass


def top_k(geometry: Geometry, g: Float[Tensor, "*b m"], k: int) -> tuple[Tensor, Tensor]:
    """The k smallest C_ij - g_j of each row, in increasing order, and their columns."""
    geometry = geometry._wide()

    def body(rows: slice) -> tuple[Tensor, Tensor]:
        reduced = geometry._block(rows) - g[..., None, :]
        # Through the index, since the derivative of a minimum is shared among ties; the first of equal ones is taken.
        order = reduced.detach()
        index = order.argmin(-1, keepdim=True) if k == 1 else order.topk(k, -1, largest=False, sorted=True).indices
        return reduced.gather(-1, index), index

    return joined(body, row_blocks(geometry, g), -2)


@torch.no_grad()
def sinkhorn(
    geometry: Geometry, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over the costs: f = T(g), the next g = T(f), and the L1 column error of (f, g)."""
    geometry, bias = geometry._wide(), column_bias(g, log_b, epsilon)
    f_parts, reached = [], None
    for rows in row_blocks(geometry, log_a, bias):
        score = _score(geometry._block(rows), torch.zeros_like(bias), epsilon)
        total, empty = log_sum_exp(score + bias[..., None, :])
        f = (-column(epsilon) * total).masked_fill(empty, math.inf)
        f_parts.append(f)
        row_bias = (log_a[..., rows] - total).masked_fill(empty, -math.inf)
        part, none = log_sum_exp(score + row_bias[..., None], -2)
        part = part.masked_fill(none, -math.inf)
        reached = part if reached is None else torch.logaddexp(reached, part)
    assert reached is not None
    # With f fresh the rows are exact, and column j holds exp(bias_j + reached_j).
    error = ((bias + reached).exp() - log_b.exp()).abs().sum(-1)
    return torch.cat(f_parts, -1), -column(epsilon) * reached, error
