r"""The derivatives of `softmin` and `apply`: the same kernels again.

Every loss of a streamed kernel reaches the costs through $\partial L / \partial s_{ij} = P_{ij} \langle l_i, r_j
\rangle$, $s = row + col - C / \varepsilon$, with few columns in $l$ and $r$. Its sums over rows and columns are
products with $P$ and $P^T$, and what flows on to the points is a moment. The derivative by epsilon needs no pass of
its own: costs are homogeneous of degree ``power`` in the points, hence $\langle x, \partial C / \partial x \rangle +
\langle y, \partial C / \partial y \rangle = \text{power} \cdot C$.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..bridge import encode, sum_to
from ..pairs import Matrix, Pairs, Points
from .moment import moment_native, plan_native
from .native import apply_native

__all__ = ["Gradients", "applied", "attended"]


class Gradients(NamedTuple):
    """What flows to each input; None where nothing was asked for."""

    first: Tensor | None = None
    second: Tensor | None = None
    row: Tensor | None = None
    col: Tensor | None = None
    v: Tensor | None = None
    epsilon: Tensor | None = None


def applied(
    pairs: Pairs,
    row: Tensor,
    col: Tensor,
    v: Tensor,
    epsilon: Tensor,
    out: Tensor,
    grad: Tensor,
    needs: tuple[bool, ...],
) -> Gradients:
    """The gradients of out = apply(pairs, row, col, v, epsilon); ``needs`` is in that order, two for pairs."""
    need_first, need_second, need_row, need_col, need_v, need_epsilon = needs
    back = None
    if need_col or need_v:
        back = apply_native(*encode(pairs.transpose(), pairs.dtype), col, row, grad, epsilon)
    first, second, eps = _costs(pairs, row, col, grad, v, epsilon, (need_first, need_second, need_epsilon))
    return Gradients(
        first,
        second,
        sum_to((grad * out).sum(-1), row) if need_row else None,
        sum_to((back * v).sum(-1), col) if need_col and back is not None else None,
        sum_to(back, v) if need_v and back is not None else None,
        sum_to(eps, epsilon) if eps is not None else None,
    )


def attended(
    pairs: Pairs,
    col: Tensor,
    epsilon: Tensor,
    f: Tensor,
    grad_f: Tensor | None,
    *,
    needs: tuple[bool, ...],
    values: tuple[Tensor, Tensor, Tensor | None] | None = None,
    need_v: bool = False,
) -> Gradients:
    """The gradients of f = softmin(pairs, col, epsilon) and, with values (v, out, grad), of the normalised product.

    ``needs`` is for the two tensors of pairs, col, and epsilon.
    """
    need_first, need_second, need_col, need_epsilon = needs
    empty = f == torch.inf
    f = f.masked_fill(empty, 0)
    # Epsilon may be float64 beside float32 points; what the kernels read keeps the dtype of the points.
    row = (f / epsilon[..., None]).masked_fill(empty, -torch.inf).to(f.dtype)
    grad_f = torch.zeros_like(f) if grad_f is None else grad_f.masked_fill(empty, 0)
    left, right = -(epsilon[..., None] * grad_f)[..., None].to(f.dtype), col.new_ones(pairs.shape[1], 1)
    width = 0
    v, out, grad = (None, None, None) if values is None else values
    if v is not None and out is not None and grad is not None:
        width = v.shape[-1]
        # The derivative of a softmax: every row of weights keeps its sum.
        left = left - (grad * out).sum(-1, keepdim=True)
        left = torch.cat([grad, left], -1)
        right = torch.cat([v, right.expand(*v.shape[:-1], 1)], -1)
    back = None
    if need_col or need_v:
        back = apply_native(*encode(pairs.transpose(), pairs.dtype), col, row, left, epsilon)
    first, second, eps = _costs(pairs, row, col, left, right, epsilon, (need_first, need_second, need_epsilon))
    if eps is not None:
        eps = sum_to(eps + (grad_f * f).sum(-1) / epsilon, epsilon)
    v_grad = None
    if need_v and v is not None:
        v_grad = sum_to(back[..., :width], v) if width and back is not None else torch.zeros_like(v)
    return Gradients(
        first,
        second,
        None,
        sum_to((back * right).sum(-1), col) if need_col and back is not None else None,
        v_grad,
        eps,
    )


def _costs(
    pairs: Pairs, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """What dL/ds_ij = P_ij <l_i, r_j> means for the costs and for epsilon, the latter not yet summed to its shape."""
    need_first, need_second, need_epsilon = needs
    if isinstance(pairs, Matrix):
        if not (need_first or need_epsilon):
            return None, None, None
        mass = plan_native(*encode(pairs, pairs.dtype), row, col, l, r, epsilon)
        cost = pairs.cost.masked_fill(pairs.cost == torch.inf, 0)
        first = sum_to(-mass / epsilon[..., None, None], pairs.cost) if need_first else None
        return first, None, (mass * cost).sum((-2, -1)) / epsilon**2 if need_epsilon else None
    first = second = None
    if need_first or need_epsilon:
        first = -moment_native(*encode(pairs, pairs.dtype), row, col, l, r, epsilon) / epsilon[..., None, None]
    if need_second or need_epsilon:
        turned = encode(pairs.transpose(), pairs.dtype)
        second = -moment_native(*turned, col, row, r, l, epsilon) / epsilon[..., None, None]
    eps = None
    if need_epsilon and first is not None and second is not None:
        eps = -_euler(pairs, first, second) / epsilon
    return (
        sum_to(first, pairs.x) if need_first and first is not None else None,
        sum_to(second, pairs.y) if need_second and second is not None else None,
        eps,
    )


def _euler(pairs: Points, x_grad: Tensor, y_grad: Tensor) -> Tensor:
    """sum_ij Q_ij C_ij from the slopes of the costs under Q."""
    if pairs.kind == "dot":
        return ((pairs.x * x_grad).sum((-2, -1)) + (pairs.y * y_grad).sum((-2, -1))) / 2
    # Norms do not see a common shift; without it the two sums do not cancel.
    centre = pairs.y.detach().mean(-2, keepdim=True)
    x, y = pairs.x - centre, pairs.y - centre
    return ((x * x_grad).sum((-2, -1)) + (y * y_grad).sum((-2, -1))) / pairs.power
