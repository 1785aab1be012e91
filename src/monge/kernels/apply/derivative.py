r"""The derivatives of `softmin` and `apply`: the same kernels again.

Every loss of a streamed kernel reaches the costs through $\partial L / \partial s_{ij} = P_{ij} \langle l_i, r_j
\rangle$, $s = row + col - C / \varepsilon$, with few columns in $l$ and $r$. Its sums over rows and columns are
products with $P$ and $P^T$, and what flows on to the points is a moment. The derivative by epsilon needs no pass of
its own: costs are homogeneous of degree ``power`` in the points, hence $\langle x, \partial C / \partial x \rangle +
\langle y, \partial C / \partial y \rangle = \text{power} \cdot C$.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    costs = _costs(pairs, row, col, grad, v, epsilon, (need_first, need_second, need_epsilon))
    back, col_grad = _columns(pairs, row, col, grad, v, epsilon, costs.mass, need_col, need_v)
    return Gradients(
        costs.first,
        costs.second,
        sum_to((grad * out).sum(-1), row) if need_row else None,
        sum_to(col_grad, col) if need_col else None,
        sum_to(back, v) if need_v else None,
        sum_to(costs.epsilon, epsilon) if need_epsilon else None,
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
    row = (f / epsilon[..., None]).masked_fill(empty, -torch.inf)
    grad_f = torch.zeros_like(f) if grad_f is None else grad_f.masked_fill(empty, 0)
    left, right = -(epsilon[..., None] * grad_f)[..., None], col.new_ones(pairs.shape[1], 1)
    width = 0
    v, out, grad = (None, None, None) if values is None else values
    if v is not None and out is not None and grad is not None:
        width = v.shape[-1]
        # The derivative of a softmax: every row of weights keeps its sum.
        left = left - (grad * out).sum(-1, keepdim=True)
        left = torch.cat([grad, left], -1)
        right = torch.cat([v, right.expand(*v.shape[:-1], 1)], -1)
    costs = _costs(pairs, row, col, left, right, epsilon, (need_first, need_second, need_epsilon))
    back, col_grad = _columns(pairs, row, col, left, right, epsilon, costs.mass, need_col, need_v and width > 0)
    v_grad = None
    if need_v and v is not None:
        v_grad = sum_to(back[..., :width], v) if width else torch.zeros_like(v)
    return Gradients(
        costs.first,
        costs.second,
        None,
        sum_to(col_grad, col) if need_col else None,
        v_grad,
        sum_to(costs.epsilon + (grad_f * f).sum(-1) / epsilon, epsilon) if need_epsilon else None,
    )


class _CostGradients(NamedTuple):
    """Those of the costs, of epsilon before it is summed to its shape, and, if at hand, the column sums of dL/ds."""

    first: Tensor | None = None
    second: Tensor | None = None
    epsilon: Any = None
    mass: Tensor | None = None


def _costs(
    pairs: Pairs, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor, needs: tuple[bool, ...]
) -> _CostGradients:
    """What dL/ds_ij = P_ij <l_i, r_j> means for the costs and for epsilon."""
    need_first, need_second, need_epsilon = needs
    if isinstance(pairs, Matrix):
        if not (need_first or need_epsilon):
            return _CostGradients()
        q = plan_native(*encode(pairs, pairs.dtype), row, col, l, r, epsilon)
        cost = pairs.cost.masked_fill(pairs.cost == torch.inf, 0)
        return _CostGradients(
            sum_to(-q / epsilon[..., None, None], pairs.cost) if need_first else None,
            epsilon=(q * cost).sum((-2, -1)) / epsilon**2 if need_epsilon else None,
            mass=q.sum(-2),
        )
    first = second = mass = None
    if need_first or need_epsilon:
        slope, _ = moment_native(*encode(pairs, pairs.dtype), row, col, l, r, epsilon)
        first = -slope / epsilon[..., None, None]
    if need_second or need_epsilon:
        slope, mass = moment_native(*encode(pairs.transpose(), pairs.dtype), col, row, r, l, epsilon)
        second = -slope / epsilon[..., None, None]
    return _CostGradients(
        sum_to(first, pairs.x) if need_first and first is not None else None,
        sum_to(second, pairs.y) if need_second and second is not None else None,
        -_euler(pairs, first, second) / epsilon if need_epsilon and first is not None and second is not None else None,
        mass,
    )


def _columns(
    pairs: Pairs,
    row: Tensor,
    col: Tensor,
    l: Tensor,
    r: Tensor,
    epsilon: Tensor,
    mass: Tensor | None,
    need_col: bool,
    need_v: bool,
) -> tuple[Any, Any]:
    """P^T l, and the column sums of dL/ds; a pass of its own only if ``mass`` does not hold all that is needed."""
    if not need_v and (mass is not None or not need_col):
        return None, mass
    back = apply_native(*encode(pairs.transpose(), pairs.dtype), col, row, l, epsilon)
    return back, (back * r).sum(-1)


def _euler(pairs: Points, x_grad: Tensor, y_grad: Tensor) -> Tensor:
    """sum_ij Q_ij C_ij from the slopes of the costs under Q."""
    if pairs.kind == "dot":
        return ((pairs.x * x_grad).sum((-2, -1)) + (pairs.y * y_grad).sum((-2, -1))) / 2
    # Norms do not see a common shift; without it the two sums do not cancel.
    centre = pairs.y.detach().mean(-2, keepdim=True)
    x, y = pairs.x - centre, pairs.y - centre
    return ((x * x_grad).sum((-2, -1)) + (y * y_grad).sum((-2, -1))) / pairs.power
