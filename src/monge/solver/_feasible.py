"""Whether forbidden pairs leave any plan at all, decided before entropic iterations would look for it in vain.

Mass that must leave the rows is shipped along allowed pairs into what the columns can take, as much as fits: a
transport problem with costs zero and one. Where some is left over, its potentials name rows whose mass exceeds all that
they reach: Hall's condition, which is why no plan exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge import kernels
from monge.errors import InfeasibleError
from monge.geometry import Geometry, SparseCost
from monge.kernels import Arcs
from monge.problem import AtMost, Fixed, Linear
from monge.problem.marginal import Marginal

# A larger table of allowed pairs is not built: iterations then report the marginal error that they reach.
_MAX_BYTES = 2**32
_NAMED = 8


class _Allowed:
    """Which pairs may meet: a table, or a list where most of them may not."""

    def __init__(self, pairs: Bool[Tensor, "n m"] | Arcs) -> None:
        self.pairs = pairs

    @classmethod
    def by(cls, geometry: Geometry) -> _Allowed:
        if isinstance(geometry, SparseCost):
            i, j = geometry.i.cpu(), geometry.j.cpu()
            return cls(Arcs(i, j, torch.zeros(len(i), dtype=torch.float64), geometry.n, geometry.m))
        return cls((geometry._dense() < math.inf).cpu())

    @property
    def T(self) -> _Allowed:  # noqa: N802
        return _Allowed(self.pairs.transpose() if isinstance(self.pairs, Arcs) else self.pairs.mT)

    def flow(self) -> Tensor | Arcs:
        """The costs of a flow in which what finds no room goes to one more column at price one.

        Room that stays empty meets one more row for nothing.
        """
        n, m = self.pairs.shape
        if isinstance(self.pairs, Arcs):
            i, j, free = self.pairs.i, self.pairs.j, self.pairs.cost
            rows, columns = torch.arange(n), torch.arange(m + 1)
            i, j = torch.cat([i, rows, torch.full((m + 1,), n)]), torch.cat([j, torch.full((n,), m), columns])
            return Arcs(i, j, torch.cat([free, free.new_ones(n), free.new_zeros(m + 1)]), n + 1, m + 1)
        cost = torch.full((n + 1, m + 1), math.inf, dtype=torch.float64)
        cost[:n, :m].masked_fill_(self.pairs, 0.0)
        cost[:n, m], cost[n] = 1.0, 0.0
        return cost

    def reached(self, rows: Bool[Tensor, " n"]) -> Bool[Tensor, " m"]:
        """The columns that some of these rows may meet."""
        if not isinstance(self.pairs, Arcs):
            return self.pairs[rows].any(0)
        found = torch.zeros(self.pairs.m, dtype=torch.bool)
        found[self.pairs.j[rows[self.pairs.i]]] = True
        return found


class _Demand(NamedTuple):
    """Mass that must leave one side, of what it has, into what the other side can take."""

    side: str
    allowed: _Allowed
    held: Float[Tensor, " n"]
    room: Float[Tensor, " m"]
    wanted: float


def check_feasible(problem: Linear) -> None:
    """Nothing, if some plan avoids infinite costs and meets the constraints to rounding.

    A plan may exist only if some allowed pairs stay empty; then it is approached and never reached, which the marginal
    error shows.

    Raises:
        InfeasibleError: If there is none; the message names points that hold more than what they reach can take.
    """
    n, m = problem.shape
    listed = isinstance(problem.geometry, SparseCost)
    if (8 * n * m > _MAX_BYTES and not listed) or not problem.geometry._forbids():
        return
    tol = 8 * torch.finfo(problem.a.dtype).eps
    batch = problem.batch_shape
    with torch.no_grad():
        for at in product(*map(range, batch)):
            one = problem._select(at) if batch else problem
            for demand in _demands(one.detach()):
                _check(demand, tol, f" of problem {at}" if batch else "")


def _demands(problem: Linear) -> Iterator[_Demand]:
    """What must flow. If each fixed side alone can be served, one plan serves both (Mendelsohn and Dulmage)."""
    source, target = problem.source, problem.target
    if not isinstance(source, Fixed) and not isinstance(target, Fixed) and problem.mass is None:
        return
    allowed = _Allowed.by(problem.geometry)
    a, b = problem.a.cpu().double(), problem.b.cpu().double()
    if isinstance(source, Fixed):
        yield _Demand("row", allowed, a, _room(target, b, a), float(a.sum()))
        if isinstance(target, Fixed):
            return  # of the same mass: serving one side serves the other
    if isinstance(target, Fixed):
        yield _Demand("column", allowed.T, b, _room(source, a, b), float(b.sum()))
    elif problem.partial:
        assert problem.mass is not None
        yield _Demand("row", allowed, a, b, float(problem.mass))


def _room(marginal: Marginal, weights: Tensor, other: Tensor) -> Tensor:
    """The most that each point can take: its weight where that is a bound, else everything."""
    if isinstance(marginal, (Fixed, AtMost)):
        return weights
    return torch.where(weights > 0, other.sum(), 0.0)


def _check(demand: _Demand, tol: float, which: str) -> None:
    side, allowed, held, room, wanted = demand
    n, m = len(held), len(room)
    mass, space = held.sum()[None], room.sum()[None]
    flow = kernels.simplex(allowed.flow(), torch.cat([held, space]), torch.cat([room, mass]), rounding=tol / 8)
    served = float(mass) - float(flow.w[(flow.i < n) & (flow.j == m)].sum())
    if served >= wanted - tol * float(mass):
        return
    stuck = (flow.f[:n] + flow.g[m] > 0.5) & (held > 0)
    reached = allowed.reached(stuck) & (room > 0)
    other = "column" if side == "row" else "row"
    hold, reach = ("hold", "reach") if int(stuck.sum()) > 1 else ("holds", "reaches")
    told = f"{_listed(side, stuck)}{which} {hold} {float(held[stuck].sum()):.6g} and {reach} "
    if bool(reached.any()):
        told += f"only {_listed(other, reached)}, with room for {float(room[reached].sum()):.6g}"
    else:
        told += f"no {other} with mass"
    rest = "" if wanted >= float(mass) * (1 - tol) else f", so that at most {served:.6g} of mass={wanted:.6g} can move"
    raise InfeasibleError(
        f"no plan avoids the pairs of infinite cost: {told}{rest}. Allow more pairs, change the weights, or let mass "
        "stay with Relaxed, AtMost or a smaller mass=."
    )


def _listed(side: str, chosen: Tensor) -> str:
    index = chosen.nonzero()[:, 0].tolist()
    more = f" and {len(index) - _NAMED} more" if len(index) > _NAMED else ""
    return f"{side}{'s' if len(index) > 1 else ''} {', '.join(map(str, index[:_NAMED]))}{more}"
