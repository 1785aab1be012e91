"""Matching one to one: which row belongs to which column."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from monge import kernels
from monge._arrays import column
from monge._checks import check_batches
from monge._transforms import transformable
from monge.errors import DtypeError, InfeasibleError, InputError, ShapeError

from ._split import matched_by_parts

__all__ = ["Matched", "linear_assignment"]


class Matched(NamedTuple):
    """The pairs of a matching, in the order of their rows; in a batch, -1 fills up what a problem has less of.

    Args:
        row: A row of every pair.
        col: The column that it is matched with.

    Example:
        >>> import torch
        >>> import monge
        >>> monge.linear_assignment(torch.tensor([[4.0, 1.0], [2.0, 3.0]])).col
        tensor([1, 0])
    """

    row: Int[Tensor, "*b k"]
    col: Int[Tensor, "*b k"]


def _takes_numpy(function: Callable[..., Matched]) -> Callable[..., Matched]:
    """NumPy in, NumPy out; not by the door of all arrays, which turns integers into floats in single precision."""

    @wraps(function)
    def entered(cost: Any, **options: Any) -> Any:
        given = {"cost": cost, **options}
        arrays = {name: torch.as_tensor(held) for name, held in given.items() if isinstance(held, np.ndarray)}
        found = function(**{**given, **arrays})
        return found._make(part.numpy() for part in found) if arrays else found

    return entered


@_takes_numpy
@transformable(constant=True)
@torch.no_grad()
def linear_assignment(
    cost: Tensor,
    *,
    maximize: bool = False,
    allowed: Bool[Tensor, "*#b n m"] | None = None,
    row_padding: Bool[Tensor, "*#b n"] | None = None,
    col_padding: Bool[Tensor, "*#b m"] | None = None,
    unmatched: float | Float[Tensor, "*#b"] | None = None,
) -> Matched:
    r"""The cheapest matching of rows and columns, exactly, as ``scipy.optimize.linear_sum_assignment`` returns it.

    $$\min_{M} \sum_{(i, j) \in M} C_{ij} \;\big[+ u\,(\text{rows and columns that are left alone})\big]$$
    over sets M of pairs that use no row and no column twice. Without ``unmatched`` every point of the smaller side is
    matched. With it, a point may stay alone at the cost u, so that a pair is matched only if it costs less than 2u:
    this is the dustbin of keypoint matchers, and half the cost limit of trackers. Problems of a batch run in parallel.

    The sum of the costs, ``cost[row, col].sum()``, is differentiable by autograd; the matching is locally constant.

    Args:
        cost: (*b, n, m), of floats or integers. ``inf`` forbids a pair (``-inf`` if scores are maximised).
        maximize: Whether ``cost`` holds scores, and the largest sum is wanted.
        allowed: The gate: True = the pair may be matched; it broadcasts to the batch.
        row_padding: (*b, n), True = there is no such row.
        col_padding: (*b, m), True = there is no such column.
        unmatched: What a point that stays alone costs, or with ``maximize`` the score it gets; one number, or one for
            each problem. ``inf`` (``-inf`` if scores are maximised) matches as many pairs as the gate allows, and among
            these matchings takes the cheapest.

    Returns:
        ``row`` and ``col``, (k,) for one matrix and (*b, k) for a batch, where k is the largest number of pairs.

    Raises:
        InfeasibleError: There is no ``unmatched``, and the gate leaves no matching of the smaller side.
        InputError: ``cost`` holds NaN or the infinity that allows nothing to be compared, or ``unmatched`` is NaN.
        ShapeError: ``cost`` is no matrix, or a mask does not fit it.
        DtypeError: ``cost`` is no tensor of numbers, or a mask is not boolean.

    Example:
        >>> import torch
        >>> import monge
        >>> cost = torch.tensor([[1.0, 9.0, 9.0], [2.0, 1.5, 9.0]])
        >>> row, col = monge.linear_assignment(cost)
        >>> row, col, cost[row, col].sum()
        (tensor([0, 1]), tensor([0, 1]), tensor(2.5000))
        >>> monge.linear_assignment(cost, unmatched=0.6)  # pairs below 1.2 only
        Matched(row=tensor([0]), col=tensor([0]))

    Source: Jonker, Volgenant, A shortest augmenting path algorithm for dense and sparse linear assignment problems
        (1987).
    """
    price, absent = _gated(cost, maximize, allowed, row_padding, col_padding)
    batch, (n, m) = price.shape[:-2], price.shape[-2:]
    if 0 in price.shape:
        none = torch.empty(*batch, 0, dtype=torch.long, device=price.device)
        return Matched(none, none)
    alone = None if unmatched is None else _alone(unmatched, maximize, price)
    price = price.reshape(-1, n, m)
    rows, cols = (side.expand(*batch, side.shape[-1]).reshape(len(price), -1) for side in absent)
    if alone is None:
        partner = _matched(price, rows, cols, False)
    else:
        partner = matched_by_parts(price, _limit(price, alone), _part)
    count = (partner >= 0).sum(-1)
    # Rows with a partner first, in their order.
    row = torch.sort((partner < 0).to(torch.int8), dim=-1, stable=True).indices[:, : int(count.max())]
    col = partner.gather(-1, row)
    row = row.masked_fill(col < 0, -1)
    return Matched(*(part.reshape(*batch, part.shape[-1]) for part in (row, col)))


def _gated(
    cost: Any, maximize: bool, allowed: Tensor | None, row_padding: Tensor | None, col_padding: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Costs in float64, inf where a pair is forbidden, and which rows and columns are absent."""
    if not isinstance(cost, Tensor) or cost.is_complex():
        told = cost.dtype if isinstance(cost, Tensor) else type(cost).__name__
        raise DtypeError(f"cost must be a torch.Tensor of real numbers, but is {told}: use torch.as_tensor(cost).")
    if cost.ndim < 2:
        raise ShapeError(f"cost must have shape (*batch, n, m), but has {tuple(cost.shape)}: add a dimension.")
    price = -cost.double() if maximize else cost.detach().double()
    if bool((price.isnan() | (price == -math.inf)).any()):
        wrong, free = ("+inf", "-inf") if maximize else ("-inf", "inf")
        raise InputError(f"cost must hold neither NaN nor {wrong}, but does: write {free} to forbid a pair.")
    (n, m), batch = price.shape[-2:], price.shape[:-2]
    absent = []
    for name, mask, size in (("allowed", allowed, (n, m)), ("row_padding", row_padding, (n,)),
                             ("col_padding", col_padding, (m,))):  # fmt: skip
        mask = torch.zeros(size, dtype=torch.bool, device=price.device) if mask is None and len(size) == 1 else mask
        if mask is None:
            continue
        if mask.dtype != torch.bool:
            raise DtypeError(f"{name} must be boolean, but is {mask.dtype}: pass for example {name} > 0.")
        if mask.shape[-len(size) :] != size:
            raise ShapeError(
                f"{name} must have shape (*batch, {', '.join(map(str, size))}), but has {tuple(mask.shape)}."
            )
        batch = check_batches(**{"cost": batch, name: mask.shape[: -len(size)]})
        absent.append(mask)
    *gate, rows, cols = absent
    forbidden = rows[..., :, None] | cols[..., None, :]
    forbidden = forbidden | ~gate[0] if gate else forbidden
    return price.masked_fill(forbidden, math.inf).expand(*batch, n, m), (rows, cols)


def _alone(unmatched: float | Tensor, maximize: bool, like: Tensor) -> Tensor:
    """The cost of a point that stays alone, for each problem."""
    alone = torch.as_tensor(unmatched, dtype=torch.float64, device=like.device).detach()
    alone = -alone if maximize else alone
    if bool((alone.isnan() | (alone == -math.inf)).any()):
        raise InputError(f"unmatched must be a number or the infinity of forbidden pairs, but is {unmatched}.")
    batch = like.shape[:-2]
    if check_batches(cost=batch, unmatched=alone.shape) != batch:
        raise ShapeError(
            f"unmatched must be one number, or one for each of the problems {tuple(batch)} of cost and unmatched, but "
            f"has shape {tuple(alone.shape)}: expand cost."
        )
    return alone.expand(batch).reshape(-1)


def _limit(price: Tensor, alone: Tensor) -> Tensor:
    """What a pair may cost before it is better to leave its two points alone, for each problem."""
    if bool(alone.isfinite().all()):
        return 2 * alone
    finite = price < math.inf
    low = price.flatten(1).amin(-1)
    high = torch.where(finite, price, -math.inf).flatten(1).amax(-1)
    # Where as many pairs as possible are wanted, one pair more outweighs all differences of costs.
    span = (high - low).clamp_min(0).nan_to_num(0.0, 0.0, 0.0)
    enough = low.nan_to_num(0.0, 0.0, 0.0) + span * (min(price.shape[1:]) + 1) + torch.where(span > 0, 0.0, 1.0)
    return torch.where(alone == math.inf, enough, 2 * alone)


def _part(price: Tensor) -> Tensor:
    """The column of every row of a batch in which all points are there and may stay alone."""
    none = torch.zeros((), dtype=torch.bool, device=price.device)
    rows, cols = (none.expand(len(price), k) for k in price.shape[1:])
    return _matched(price, rows, cols, True)


def _matched(price: Tensor, row_absent: Tensor, col_absent: Tensor, alone: bool) -> Tensor:
    """(b, n) the column of every row, -1 for none; with ``alone`` any point may have none, for nothing."""
    n, m = price.shape[1:]
    if n > m:
        perm = _matched(price.mT, col_absent, row_absent, alone)
        partner = torch.full((len(price), n + 1), -1, device=price.device)
        row = torch.where(perm < 0, n, perm)
        return partner.scatter(1, row, torch.arange(m, device=price.device).expand(len(price), m))[:, :n]
    used = _columns(price)
    if used is not None:
        near = price.gather(-1, used[:, None].expand(-1, n, -1))
        perm = _matched(near, row_absent, col_absent.gather(-1, used), alone)
        return torch.where(perm < 0, -1, used.gather(-1, perm.clamp_min(0)))
    if alone:
        # What is not worth a pair costs nothing: then its two points are alone.
        free = price == math.inf
    else:
        rest = (~row_absent).sum(-1) - (~col_absent).sum(-1)
        # The smaller side must be matched; what is absent is a partner for the rest of the larger one.
        free = row_absent[:, :, None] & (col_absent[:, None] | column(rest < 0, 2))
        free = free | (col_absent[:, None] & column(rest > 0, 2))
        spare = col_absent | (rest < 0)[:, None]
    square = pad(price.masked_fill(free, 0.0), (0, 0, 0, m - n), value=0.0)
    if not alone and m > n:
        square[:, n:].masked_fill_(~spare[:, None], math.inf)
    try:
        perm = kernels.assignment(square).perm[:, :n]
    except InfeasibleError as error:
        raise InfeasibleError(
            "The gate must leave a partner for every point of the smaller side, but leaves no such matching of some "
            "problem: allow more pairs, or say what a point that stays alone costs by unmatched=."
        ) from error
    return perm.masked_fill(price.gather(-1, perm[..., None])[..., 0] == math.inf, -1)


def _columns(price: Tensor) -> Tensor | None:
    """(b, k) columns that suffice, where not all do: the n cheapest of every row, of which others use n - 1."""
    n, m = price.shape[1:]
    if 4 * n > m:
        return None
    near = price.topk(n, -1, largest=False).indices.flatten(1)
    wanted = torch.zeros(len(price), m, dtype=torch.int8, device=price.device).scatter_(1, near, 1)
    most = int(wanted.sum(-1).max())
    if most == m:
        return None
    return wanted.sort(dim=-1, descending=True, stable=True).indices[:, :most].sort(-1).values
