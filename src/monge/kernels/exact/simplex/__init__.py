"""Exact transport between weighted measures: a basic optimal plan and optimal potentials."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError, NotConvergedError, ShapeError

from ... import _extension
from ...stream import Matrix, Pairs, Points
from ..arcs import Arcs
from . import native, reference
from .small import MOST, small

__all__ = ["MOST", "Basis", "simplex", "small"]

PointCost = tuple[Tensor, Tensor, float | int, float | int]


class Basis(NamedTuple):
    """A basic optimal plan, entry by entry, and the potentials that prove it."""

    i: Int[Tensor, "*b k"]
    j: Int[Tensor, "*b k"]
    w: Float[Tensor, "*b k"]
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]


@transformable
@torch.no_grad()
def simplex(
    cost: Pairs | Arcs | Float[Tensor, "*b n m"] | PointCost,
    a: Float[Tensor, "*b n"],
    b: Float[Tensor, "*b m"],
    *,
    start: Basis | None = None,
    potentials: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | None = None,
    max_iter: int | None = None,
    rounding: float = torch.finfo(torch.float64).eps,
) -> Basis:
    r"""Solves the transport problem exactly, for every problem of a batch.

    $$\min_{P \ge 0} \sum_{ij} C_{ij} P_{ij}, \qquad P 1 = a, \quad P^\top 1 = b.$$
    The plan is a vertex: at most $n + m - 1$ entries. The potentials satisfy $f_i + g_j \le C_{ij}$, with equality on
    the plan, up to 1e-14 of the numbers involved, whatever the start: the last act is a pass over all pairs that finds
    no violation. They are shifted so that $\langle a, f\rangle = \langle b, g\rangle$. An atom of zero weight takes no
    part, which is how problems of different sizes make one batch; its potential is the largest that stays feasible.

    Weights are counted in integers, so that flows add up exactly and ties cannot cycle: in parts of a common
    denominator where fractions of a small one lie within `rounding`, else in 1e-18 of the mass. Flows that together are
    a few `rounding` of the mass are not told from none.

    Everything happens in float64 on the CPU, and problems run in parallel. The result is locally constant in the cost,
    hence not differentiable; the derivative of the value is the plan by the cost, and the potentials by the weights.

    Args:
        cost: The matrix $C$ (a tensor or a `Matrix`), where ``inf`` forbids a pair; or `Points`, whose costs are
            computed on the fly in memory $O((n + m) d)$; or `Arcs`, the pairs that may meet. A tuple
            ``(x, y, p, power)`` is short for ``Points(x, y, p=p, power=power)``.
        a: Source weights, not negative.
        b: Target weights; a sum that differs by rounding is scaled to that of `a`.
        start: The answer to a similar problem of the same shape: its basis is the first one, less the entries of weight
            zero. The sooner it is optimal here, the less there is to do.
        potentials: Guesses of $f$ and $g$, for instance from an entropic solver; only their quality as a guess matters.
        max_iter: Most pivots allowed; None for no limit.
        rounding: The relative error to which weights are known, if they come from a lower precision.

    Returns:
        Entries ``(i, j, w)`` of the plan, and the potentials ``f`` and ``g``. All entries are positive; in a batch,
        entries of weight zero follow those of plans that have fewer.

    Raises:
        InfeasibleError: The sums of `a` and `b` differ, or every plan uses a forbidden pair.
        NotConvergedError: `max_iter` pivots were not enough; its ``solution`` is the `Basis` reached, a feasible plan
            unless costs are infinite.

    Example:
        >>> import torch
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
        >>> i, j, w, f, g = simplex(cost, weights, weights)
        >>> float((w * cost[i, j]).sum())
        0.0

    The method is in Ahuja, Magnanti, Orlin, "Network Flows" (1993), chapter 11; the strongly feasible tree is
    Cunningham's, "A network simplex method" (1976).
    """
    pairs = _checked_cost(cost)
    batch = _checked_weights(a, b, pairs)
    sides = _flat(a, batch), _flat(b, batch)
    hints = _hints(start, potentials, batch, pairs.shape)
    loop = native if _extension.AVAILABLE and 0 not in pairs.shape else reference
    solved = loop.simplex(_flat_pairs(pairs, batch), *sides, hints, max_iter, rounding)
    infeasible = (solved.status == native.INFEASIBLE).nonzero()
    if len(infeasible):
        raise InfeasibleError(
            f"every plan between a and b{f' of problem {int(infeasible[0])}' if batch else ''} needs pairs of infinite "
            "cost: allow more pairs, or leave mass unmatched with a partial problem."
        )
    most = int((solved.w > 0).sum(-1).amax()) if solved.w.numel() else 0
    entries = (part[:, :most] for part in (solved.i, solved.j, solved.w))
    parts = (*entries, solved.f, solved.g)
    basis = Basis(*(part.reshape(*batch, part.shape[-1]).to(a.device) for part in parts))
    if bool((solved.status == native.LIMIT).any()):
        raise NotConvergedError(
            f"the simplex stopped at max_iter={max_iter} pivots before it was optimal: allow more, or start from a "
            "better basis.",
            basis,
        )
    return basis


def _plain(numbers: Tensor) -> Tensor:
    return numbers.detach().cpu().double()


def _flat(numbers: Tensor, batch: torch.Size) -> Tensor:
    """One row for each problem."""
    return _plain(numbers).expand(*batch, numbers.shape[-1]).reshape(batch.numel(), numbers.shape[-1])


def _flat_pairs(pairs: Pairs | Arcs, batch: torch.Size) -> Pairs | Arcs:
    """One cost for each problem, or one for all."""

    def flat(t: Tensor) -> Tensor:
        if t.ndim < 4 and t.shape[:-2].numel() == 1:
            return t[(None,) * (3 - t.ndim)]
        return t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:])

    if isinstance(pairs, Matrix):
        return Matrix(flat(pairs.cost))
    if isinstance(pairs, Arcs):
        return replace(pairs, cost=flat(pairs.cost[..., None, :])[:, 0])
    return replace(pairs, x=flat(pairs.x), y=flat(pairs.y))


def _hints(
    start: Basis | None,
    potentials: tuple[Tensor, Tensor] | None,
    batch: torch.Size,
    shape: tuple[int, int],
) -> native.Hints:
    arcs: tuple[Tensor | None, ...] = None, None, None
    if start is not None:
        i, j, w = start[:3]
        inside = all(bool(((end >= 0) & (end < size)).all()) for end, size in ((i, shape[0]), (j, shape[1])))
        if not inside or not i.shape == j.shape == w.shape or not _fits(i, batch, i.shape[-1]):
            raise ShapeError(
                f"start must hold entries of a plan of shape {(*batch, *shape)}, but some lie outside: pass the "
                "answer to a problem of the same shape."
            )
        arcs = _flat(i, batch).long(), _flat(j, batch).long(), _flat(w, batch)
        potentials = potentials or (start[3], start[4])
    if potentials is None:
        return native.Hints(*arcs)
    for name, guess, size in zip("fg", potentials, shape, strict=True):
        if not _fits(guess, batch, size):
            raise ShapeError(f"the guess of {name} must have shape {(*batch, size)}, not {tuple(guess.shape)}.")
    return native.Hints(*arcs, *(_flat(guess, batch) for guess in potentials))


def _fits(numbers: Tensor, batch: torch.Size, size: int) -> bool:
    """Whether there are so many numbers for each problem, or for all."""
    try:
        return numbers.shape[-1:] == (size,) and broadcast_shapes(batch, numbers.shape[:-1]) == batch
    except RuntimeError:
        return False


def _checked_cost(cost: Pairs | Arcs | Tensor | PointCost) -> Pairs | Arcs:
    if isinstance(cost, tuple):
        x, y, p, power = cost
        cost = Points(x, y, p=p, power=power)
    elif isinstance(cost, Tensor):
        cost = Matrix(cost)
    if isinstance(cost, Matrix):
        matrix = _plain(cost.cost)
        # The least number of all is NaN if one of them is.
        if matrix.numel() and not float(matrix.min()) > -math.inf:
            raise InputError("cost must not hold NaN or -inf; use inf to forbid a pair.")
        return Matrix(matrix)
    if isinstance(cost, Arcs):
        prices = _plain(cost.cost)
        if not bool(prices.isfinite().all()):
            raise InputError("cost must hold finite costs of its pairs; leave a pair out to forbid it.")
        return replace(cost, i=cost.i.cpu(), j=cost.j.cpu(), cost=prices)
    x, y = _plain(cost.x), _plain(cost.y)
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise InputError("x and y must be finite: drop or mend the points that are NaN or infinite.")
    return Points(x, y, cost.kind, cost.p, cost.power)


def _checked_weights(a: Tensor, b: Tensor, pairs: Pairs | Arcs) -> torch.Size:
    """The dimensions of the batch."""
    n, m = pairs.shape
    if a.shape[-1:] != (n,) or b.shape[-1:] != (m,):
        raise ShapeError(
            f"a and b must have shapes ({n},) and ({m},) for this cost, behind the dimensions of a batch, but have "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    try:
        batch = torch.Size(broadcast_shapes(pairs.batch_shape, a.shape[:-1], b.shape[:-1]))
    except RuntimeError as error:
        raise ShapeError(
            f"the dimensions of the batch of cost, a and b must broadcast, but are {tuple(pairs.batch_shape)}, "
            f"{tuple(a.shape[:-1])} and {tuple(b.shape[:-1])}."
        ) from error
    for name, weights in (("a", a), ("b", b)):
        if not bool(((weights >= 0) & weights.isfinite()).all()):
            raise InputError(f"{name} must be finite and not negative, but holds {float(weights.min())}.")
    mass, other = torch.broadcast_tensors(*(side.detach().double().sum(-1) for side in (a, b)))
    differ = ((mass - other).abs() > 1e-6 * torch.maximum(mass, other)).nonzero()
    if len(differ):
        which = tuple(differ[0])
        raise InfeasibleError(
            f"a and b must have the same sum, but a sums to {float(mass[which])!r} and b to {float(other[which])!r}: "
            "rescale one."
        )
    return batch
