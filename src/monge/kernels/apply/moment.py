r"""Sums of cost slopes under a plan, which the derivatives of `softmin` and `apply` are made of.

With $Q_{ij} = P_{ij} \langle l_i, r_j \rangle$ and $P_{ij} = \exp(row_i + col_j - C_{ij}/\varepsilon)$: for points the
sums $\sum_j Q_{ij} \, \partial C_{ij} / \partial x_i$ and $\sum_j Q_{ij}$, for a stored cost the matrix $Q$ itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._load import module
from .._operator import custom_op
from ..bridge import Call, Rule, decode, register_vmap
from ..pairs import Pairs, Points, broadcast
from ..scores import Scores, epsilon_tensor
from ..stream import stream

__all__ = ["moment_native", "moment_reference", "plan_native", "plan_reference"]


def moment_reference(
    pairs: Points, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums over j of Q_ij dC_ij / dx_i and of Q_ij, in plain torch, by blocks of rows."""
    batch = broadcast(pairs.batch_shape, row.shape[:-1], col.shape[:-1], l.shape[:-2], r.shape[:-2], epsilon.shape)
    # One slope for each problem: autograd would add up those of points that a batch shares.
    pairs = Points(pairs.x.expand(*batch, *pairs.x.shape[-2:]), pairs.y, pairs.kind, pairs.p, pairs.power)
    eps = epsilon_tensor(epsilon, col, pairs.dtype)
    rows, shared, evaluate, _ = pairs.parts(pairs.dtype, eps)
    scores = Scores.of(pairs, col, eps, pairs.dtype)
    count = len(shared)

    def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            x, row, l = rows
            *points, _, _, r = shared
            x = x if further and x.requires_grad else x.detach().requires_grad_()
            cost = evaluate([x], points[:count])
            weight = torch.exp(row + scores.block([x], shared[:-1])) * (l @ r.mT)
            (slope,) = torch.autograd.grad(cost, x, weight.to(cost.dtype), create_graph=True)
            return slope, weight.sum(-1, keepdim=True)

    slope, mass = stream(body, [*rows, row[..., None], l], [*scores.shared, r], step=scores.step)
    return slope.to(pairs.dtype), mass[..., 0]


def plan_reference(pairs: Pairs, row: Tensor, col: Tensor, l: Tensor, r: Tensor, epsilon: Tensor) -> Tensor:
    """P_ij <l_i, r_j>, dense."""
    cost = pairs.block(slice(None))
    forbidden = cost == torch.inf
    score = row[..., :, None] + col[..., None, :] - cost.masked_fill(forbidden, 0) / epsilon[..., None, None]
    return torch.exp(score.masked_fill(forbidden, -torch.inf)) * (l @ r.mT)


@custom_op("moment")
def moment_native(
    first: Tensor,
    second: Tensor,
    kind: str,
    p: float,
    power: float,
    row: Tensor,
    col: Tensor,
    l: Tensor,
    r: Tensor,
    epsilon: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sums over j of Q_ij dC_ij / dx_i and of Q_ij."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [row, col], [l, r])
    out, array = call.output(*first.shape[-2:], dtype=first.dtype)
    mass, mass_array = call.output(first.shape[-2], dtype=first.dtype)
    module().moment(*call.costs, *call.vectors, *call.values, array, mass_array, torch.get_num_threads())
    return out, mass


@custom_op("plan")
def plan_native(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    row: Tensor,
    col: Tensor,
    l: Tensor,
    r: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """P_ij <l_i, r_j>."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [row, col], [l, r])
    out, array = call.output(*first.shape[-2:], dtype=first.dtype)
    module().plan(*call.costs, *call.vectors, *call.values, array, torch.get_num_threads())
    return out


def _fake(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    row: Tensor,
    col: Tensor,
    l: Tensor,
    r: Tensor,
    epsilon: Tensor,
) -> Tensor:
    costs = decode(first, second, kind, p, power).batch_shape
    batch = broadcast(costs, row.shape[:-1], col.shape[:-1], l.shape[:-2], r.shape[:-2], epsilon.shape)
    return first.new_empty(*batch, *first.shape[-2:])


def _fake_moment(first: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    out = _fake(first, *arguments)
    return out, out.new_empty(out.shape[:-1])


def _save(ctx: Any, inputs: tuple, output: Any) -> None:
    first, second, *ctx.rule, row, col, l, r, epsilon = inputs
    ctx.save_for_backward(first, second, row, col, l, r, epsilon)


def _through(reference: Callable[..., Any]) -> Callable[..., tuple]:
    """Further derivatives go through the reference, streamed."""

    def backward(ctx: Any, *grad: Tensor) -> tuple:
        needs = (*ctx.needs_input_grad[:2], *ctx.needs_input_grad[5:])
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            inputs: list[Any] = [
                t if t is None or (further and t.requires_grad) else t.detach().requires_grad_(need)
                for t, need in zip(ctx.saved_tensors, needs, strict=True)
            ]
            first, second, *rest = inputs
            out = reference(decode(first, second, *ctx.rule), *rest)
            wanted = [k for k, need in enumerate(needs) if need]
            found = torch.autograd.grad(out, [inputs[k] for k in wanted], grad, create_graph=further, allow_unused=True)
        grads: list[Tensor | None] = [None] * len(inputs)
        for k, slope in zip(wanted, found, strict=True):
            grads[k] = slope
        return (*grads[:2], None, None, None, *grads[2:])

    return backward


for _operator, _reference, _rule in (
    (moment_native, moment_reference, _fake_moment),
    (plan_native, plan_reference, _fake),
):
    _operator.register_fake(_rule)
    _operator.register_autograd(_through(_reference), setup_context=_save)
    register_vmap(_operator, (2, 2, None, None, None, 1, 1, 2, 2, 0))
