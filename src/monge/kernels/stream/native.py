r"""The C++ twins of the streamed kernels, and their derivatives: the same loops again.

Every loss of a streamed kernel reaches the costs through $Q_{ij} = \partial L / \partial s_{ij} = P_{ij} \langle l_i,
r_j \rangle$, $s = row + col - C / \varepsilon$, $P = \exp s$, with few columns in $l$ and $r$. Its sums over rows and
columns are products with $P$ and $P^T$, and what flows on to the points is a moment. The derivative by epsilon needs no
pass of its own: costs are homogeneous of degree ``power`` in the points, hence $\langle x, \partial C / \partial x
\rangle + \langle y, \partial C / \partial y \rangle = \text{power} \cdot C$.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from monge._transforms import gradient_of, leaves_of, placed

from .._extension import call
from ._native_call import Arrays, Cost, loop
from .pairs import Matrix, Pairs, Points
from .reference import moment_reference, plan_reference

__all__ = [
    "LARGEST_K",
    "apply_native",
    "attend_native",
    "extract_native",
    "moment_native",
    "plan_native",
    "sinkhorn_native",
    "softmin_native",
    "top_k_native",
]

# The native loop keeps the chosen in order by insertion, which is right for a few of them.
LARGEST_K = 256

Tensors = Sequence[Tensor]
Needs = Sequence[bool]


class _Density(NamedTuple):
    """Q_ij = exp(row_i + col_j - C_ij / epsilon) <l_i, r_j>: the derivative of a loss by the scores."""

    row: Tensor
    col: Tensor
    l: Tensor
    r: Tensor
    epsilon: Tensor

    @property
    def mirrored(self) -> _Density:
        """The same with the roles of rows and columns exchanged."""
        return _Density(self.col, self.row, self.r, self.l, self.epsilon)


class _Gradients(NamedTuple):
    """Along the two tensors of the costs, what is multiplied by P, the bias of the columns, and epsilon."""

    first: Tensor | None = None
    second: Tensor | None = None
    v: Tensor | None = None
    col: Tensor | None = None
    epsilon: Any = None


def _gradients(pairs: Pairs, q: _Density, needs: Needs) -> _Gradients:
    """What dL/ds = Q means; ``needs`` is for first, second, v, col and epsilon."""
    need_first, need_second, need_v, need_col, need_epsilon = needs
    first = second = v = col = by_epsilon = None
    scale = -q.epsilon[..., None, None]
    if isinstance(pairs, Matrix) and (need_first or need_epsilon):
        felt = plan_native(*Cost.of(pairs, pairs.dtype), *q)
        first, col = felt / scale, felt.sum(-2)
        if need_epsilon:
            cost = pairs.cost.masked_fill(pairs.cost == torch.inf, 0)
            by_epsilon = (felt * cost).sum((-2, -1)) / q.epsilon**2
    elif isinstance(pairs, Points):
        if need_first or need_epsilon:
            first = moment_native(*Cost.of(pairs, pairs.dtype), *q)[0] / scale
        if need_second or need_epsilon:
            felt, col = moment_native(*Cost.of(pairs.transpose(), pairs.dtype), *q.mirrored)
            second = felt / scale
        if first is not None and second is not None:
            by_epsilon = -_euler(pairs, first, second) / q.epsilon if need_epsilon else None
    if need_v or (need_col and col is None):
        # A pass of its own only if the column sums of Q are not at hand or not enough.
        v = apply_native(*Cost.of(pairs.transpose(), pairs.dtype), q.col, q.row, q.l, q.epsilon)
        col = (v * q.r).sum(-1)
    return _Gradients(first, second, v, col, by_epsilon)


def _euler(pairs: Points, x_gradient: Tensor, y_gradient: Tensor) -> Tensor:
    """sum_ij Q_ij C_ij from the gradients of the costs under Q."""
    if pairs.kind == "dot":
        return ((pairs.x * x_gradient).sum((-2, -1)) + (pairs.y * y_gradient).sum((-2, -1))) / 2
    # Norms do not see a common shift; without it the two sums do not cancel.
    centre = pairs.y.detach().mean(-2, keepdim=True)
    x, y = pairs.x - centre, pairs.y - centre
    return ((x * x_gradient).sum((-2, -1)) + (y * y_gradient).sum((-2, -1))) / pairs.power


def _of_apply(cost: Cost, tensors: Tensors, outputs: Tensors, upstream: Tensors, needs: Needs) -> Sequence[Any]:
    row, col, v, epsilon = tensors
    need_first, need_second, need_row, need_col, need_v, need_epsilon = needs
    q = _Density(row, col, upstream[0], v, epsilon)
    found = _gradients(cost.pairs, q, (need_first, need_second, need_v, need_col, need_epsilon))
    of_row = (upstream[0] * outputs[0]).sum(-1) if need_row else None
    return found.first, found.second, of_row, found.col, found.v, found.epsilon


def _of_attend(cost: Cost, tensors: Tensors, outputs: Tensors, upstream: Tensors, needs: Needs) -> Sequence[Any]:
    """Of the soft minima f, and of the row-normalised product before them, if there is one."""
    col, *v, epsilon = tensors
    *out, f = outputs
    *upstream_out, upstream_f = upstream
    need_first, need_second, need_col, *need_v, need_epsilon = needs
    empty = f == torch.inf
    f, upstream_f = f.masked_fill(empty, 0), upstream_f.masked_fill(empty, 0)
    row = (f / epsilon[..., None]).masked_fill(empty, -torch.inf)
    l, r = -(epsilon[..., None] * upstream_f)[..., None], col.new_ones(cost.pairs.shape[1], 1)
    if v:
        # The derivative of a softmax: every row of weights keeps its sum.
        l = torch.cat([upstream_out[0], l - (upstream_out[0] * out[0]).sum(-1, keepdim=True)], -1)
        r = torch.cat([v[0], r.expand(*v[0].shape[:-1], 1)], -1)
    need = need_first, need_second, any(need_v), need_col, need_epsilon
    found = _gradients(cost.pairs, _Density(row, col, l, r, epsilon), need)
    of_v = [None if found.v is None else found.v[..., :-1]] * len(v)
    of_epsilon = found.epsilon + (upstream_f * f).sum(-1) / epsilon if need_epsilon else None
    return found.first, found.second, found.col, *of_v, of_epsilon


def _through(definition: Callable[..., Any]) -> Callable[..., Sequence[Any]]:
    """Further derivatives go through the definition, streamed."""

    def derivative(cost: Cost, tensors: Tensors, outputs: Tensors, upstream: Tensors, needs: Needs) -> Sequence[Any]:
        further = torch.is_grad_enabled()
        wanted = [k for k, need in enumerate(needs) if need]
        with torch.enable_grad():
            inputs = leaves_of([*cost[:2], *tensors], wanted, further)
            out = definition(cost._replace(first=inputs[0], second=inputs[1]).pairs, *inputs[2:])
            found = gradient_of(out, [inputs[k] for k in wanted], upstream, further)
        return placed(found, wanted, len(needs))

    return derivative


# -epsilon log sum_j exp(bias_j - C_ij / epsilon)
softmin_native = loop("softmin", "bias:m", "n", _of_attend)
# sum_j exp(row_i + col_j - C_ij / epsilon) v_j
apply_native = loop("apply", "row:n col:m v:mk", "nk", _of_apply)
# The same with rows normalised, and the soft minimum of the rows, which the derivative needs.
attend_native = loop("attend", "col:m v:mk", "nk n", _of_attend)
# Sums over j of Q_ij dC_ij / dx_i and of Q_ij, see `moment_reference`, and the matrix Q itself.
moment_native = loop("moment", "row:n col:m l:nk r:mk", "nd n", _through(moment_reference))
plan_native = loop("plan", "row:n col:m l:nk r:mk", "nm", _through(plan_reference))
# f, the new g, and the L1 error of the columns before its new value.
sinkhorn_native = loop("sinkhorn", "g:m log_a:n log_b:m", "n m e")
# The k smallest of C_ij - g_j in every row, and their columns.
top_k_native = loop("top_k", "g:m", "nk ink", counted=True)


def extract_native(
    pairs: Pairs, row: Tensor, col: Tensor, epsilon: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The entries exp(row_i + col_j - C_ij / eps) above the threshold; how many, only the data knows: no operator."""
    tensors = row, col, threshold.expand(pairs.shape[0]), epsilon
    arrays = Arrays(Cost.of(pairs, row.dtype), tensors, (1, 1, 1, 0))
    found = call("extract", *arrays.given, torch.get_num_threads())
    i, j, w = (torch.from_numpy(part) for part in found)
    return i, j, w
