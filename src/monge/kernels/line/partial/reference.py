"""The definitions: a linear program for the plan, the greedy with blocks matched afresh for the profile."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from monge._arrays import gap_power

from ...exact import Basis, simplex
from .._rows import RowProblem
from ._form import Pieces, Profile

__all__ = ["partial_plan", "partial_profile"]


def partial_plan(problem: RowProblem, p: float, period: float, rule: str, level: Tensor) -> Pieces:
    """The plan and its potentials, row by row: a balanced problem with a dummy atom on each side.

    Any weights and any order, on the circle too; memory grows like n m.
    """
    x, y = (points.detach().double() for points in problem[:2])
    a, b = (
        points.new_ones(1, points.shape[-1]) if held is None else held.detach()
        for points, held in zip((x, y), problem[2:4], strict=True)
    )
    if len(x) == 0:
        none = x.new_zeros(0, 1)
        return Pieces(none.long(), none.long(), none, none, x, y)
    solved = []
    for row in range(len(x)):
        gap = x[row][:, None] - y[row]
        cost = gap_power(gap - period * (gap / period).round() if period > 0 else gap, p)
        solved.append(_solve(cost, a[row % len(a)], b[row % len(b)], rule, float(level[row % len(level)])))
    return Pieces(*(pad_sequence(list(parts), batch_first=True) for parts in zip(*solved, strict=True)))


def _solve(cost: Tensor, a: Tensor, b: Tensor, rule: str, level: float) -> Pieces:
    if rule == "penalty":
        return _with_penalty(cost, a, b, level)
    most = min(float(a.sum()), float(b.sum()))
    if rule == "mass":
        return _with_mass(cost, a, b, min(level, most))
    all_moved = _with_mass(cost, a, b, most)
    mean = float((cost[all_moved.i, all_moved.j] * all_moved.w).sum()) / most
    return _with_penalty(cost, a, b, 0.5 * mean * (1 + 1e-12))


def _with_penalty(cost: Tensor, a: Tensor, b: Tensor, penalty: float) -> Pieces:
    whole = _bordered(cost, penalty, 0.0)
    basis = simplex(whole, torch.cat([a, b.sum()[None]]), torch.cat([b, a.sum()[None]]))
    return _restricted(cost, basis, cost.new_tensor([penalty]), basis.g[-1], basis.f[-1])


def _with_mass(cost: Tensor, a: Tensor, b: Tensor, mass: float) -> Pieces:
    # Dearer than any way round, but not forbidden: rounding may leave a sliver in the corner.
    whole = _bordered(cost, 0.0, float((sum(cost.shape) + 1) * cost.max() + 1))
    left_a, left_b = (b.sum() - mass).clamp_min(0), (a.sum() - mass).clamp_min(0)
    a, b = torch.cat([a, left_a[None]]), torch.cat([b, left_b[None]])
    basis = simplex(whole, a, b * (a.sum() / b.sum()))
    level = (-(basis.f[-1] + basis.g[-1]) / 2).clamp_min(0)
    return _restricted(cost, basis, level[None], basis.g[-1] + level, basis.f[-1] + level)


def _bordered(cost: Tensor, border: float, corner: float) -> Tensor:
    whole = torch.nn.functional.pad(cost, (0, 1, 0, 1), value=border)
    whole[-1, -1] = corner
    return whole


def _restricted(cost: Tensor, basis: Basis, level: Tensor, shift_f: Tensor, shift_g: Tensor) -> Pieces:
    n, m = cost.shape
    keep = (basis.i < n) & (basis.j < m)
    f, g = (basis.f[:n] + shift_f).minimum(level), (basis.g[:m] + shift_g).minimum(level)
    return Pieces(basis.i[keep], basis.j[keep], basis.w[keep], level, f, g)


def partial_profile(problem: RowProblem, p: float, period: float, stop: float, most: int) -> Profile:
    """The greedy, every candidate priced by matching its block afresh."""
    rows = [_profile(*pair, p, period, stop, most) for pair in zip(problem.x, problem.y, strict=True)]
    return Profile(*(torch.stack(parts) for parts in zip(*rows, strict=True)))


def _profile(x: Tensor, y: Tensor, p: float, period: float, stop: float, most: int) -> Profile:
    n = len(x)
    place = torch.cat([x, y]).detach().double()
    place = place.remainder(period) if period > 0 else place
    order = place.argsort(stable=True).tolist()
    place = place.tolist()
    waiting = list(range(len(order)))  # inactive atoms, by rank
    gaps = list(range(len(order)))  # for each of them, a gap after it that no step has covered
    marginals, sources, targets = [], [], []

    def block(u: int, v: int) -> float:
        """The cost of matching all atoms from rank u to rank v, on the way to the right."""
        around = [(order[t % len(order)], period * (t // len(order))) for t in range(u, v + 1)]
        left = sorted(place[k] + turn for k, turn in around if k < n)
        right = sorted(place[k] + turn for k, turn in around if k >= n)
        return math.fsum(abs(s - t) ** p for s, t in zip(left, right, strict=True))

    while len(marginals) < most:
        best = (stop, -1)
        for at, u in enumerate(waiting if period > 0 else waiting[:-1]):
            v = waiting[(at + 1) % len(waiting)]
            if (order[u] < n) != (order[v] < n):
                end = v if v > u else v + len(order)
                inside = block(u + 1, end - 1) if end > u + 1 else 0.0
                best = min(best, (max(block(u, end) - inside, 0.0), at))
        marginal, at = best
        if at < 0:
            break
        first, second = waiting[at], waiting[(at + 1) % len(waiting)]
        marginals.append(marginal)
        pair = sorted((order[first], order[second]))
        sources.append(pair[0])
        targets.append(pair[1] - n)
        # The cell to the left grows over this one and keeps its own free gap.
        free = gaps[(at + 1) % len(waiting)] if len(waiting) == 2 else None
        for gone in sorted((at, (at + 1) % len(waiting)), reverse=True):
            del waiting[gone], gaps[gone]
        if free is not None:
            gaps = [free]
    missing = most - len(marginals)
    # Only a circle is cut, after a gap that no pair passes; what lies before it follows one turn later.
    for k in order[: (gaps[0] + 1) % len(order)] if period > 0 else ():
        place[k] += period
    return Profile(
        torch.tensor(marginals + [math.inf] * missing, dtype=torch.float64),
        torch.tensor(sources + [-1] * missing),
        torch.tensor(targets + [-1] * missing),
        torch.tensor(place[:n], dtype=torch.float64),
        torch.tensor(place[n:], dtype=torch.float64),
    )
