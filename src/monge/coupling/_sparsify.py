"""The large entries of a plan, found without its matrix."""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import _stream
from .base import Coupling
from .sparse import SparseCoupling

# Digits of the radix, in bits: the first is the exponent of a number and the head of its mantissa.
_DIGIT = 16
# A group of near-equal entries that is small enough to be sorted.
_SORTED = 2**18


def sparsify(P: Coupling, mass: float, threshold: float | None) -> SparseCoupling:
    """As few entries as hold the share ``mass`` of the plan, or those above ``threshold``."""
    *batch, n, m = P._shape()
    # All of the mass is all but its rounding, which is no match.
    mass = min(mass, 1 - 4 * torch.finfo(P.dtype).eps)
    with torch.no_grad():
        problems = (P._select(index, torch.Size(batch)) if batch else P for index in product(*map(range, batch)))
        lists = [_one(one, mass, threshold) for one in problems]
    longest = max((len(i) for i, _ in lists), default=0)
    i, j = (torch.zeros(len(lists), longest, dtype=torch.long, device=P.device) for _ in range(2))
    for k, (row, col) in enumerate(lists):
        i[k, : len(row)], j[k, : len(row)] = row, col
    i, j = i.reshape(*batch, longest), j.reshape(*batch, longest)
    w = P._at(i, j).to(P.dtype)
    if batch:
        lengths = torch.tensor([len(part[0]) for part in lists], device=i.device).reshape(*batch, 1)
        w = w.masked_fill(torch.arange(longest, device=i.device) >= lengths, 0)
    return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m)


def _one(P: Coupling, mass: float, threshold: float | None) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Rows and columns for a plan without batch dimensions, in row-major order."""
    atoms = P._as_sparse()
    if atoms is not None:
        i, j, w = atoms._sorted()
    else:
        floor = _floor(P, mass) if threshold is None else threshold
        i, j = P._extract(floor)
        w = P._at(i, j)
    kept = w > (threshold or 0.0)
    i, j, w = i[kept], j[kept], w[kept]
    if threshold is not None:
        return i, j
    total = w.double().sum() if atoms is not None else P._row_sums().double().sum()
    order = w.argsort(descending=True, stable=True)
    held = w[order].double().cumsum(0)
    count = int((held < mass * total * (1 - 1e-12)).sum()) + 1
    chosen = order[:count].sort().values
    return i[chosen], j[chosen]


def _floor(P: Coupling, mass: float) -> float:
    """A number that the wanted entries exceed, and few others do.

    Positive floating-point numbers are ordered as the integers of the same bits. Radix selection on those bits finds
    the smallest wanted entry digit by digit: one streamed pass a digit, which sums the mass of each digit.
    """
    # Summed from the digits of the first pass, so that rounding is the same on both sides of a comparison.
    kind = (torch.int64, torch.float64) if P.dtype == torch.float64 else (torch.int32, torch.float32)
    low, shift, wanted = 0, 8 * kind[0].itemsize - _DIGIT, None
    while True:
        sums, counts = _histogram(P, kind, low, shift)
        if wanted is None:
            wanted = mass * float(sums.sum())
            if wanted == 0:
                return 0.0
        above = sums.flip(0).cumsum(0).flip(0)
        enough = (above >= wanted).nonzero()
        digit = int(enough[-1]) if len(enough) else int((counts > 0).nonzero()[:1].sum())
        wanted -= float(above[digit] - sums[digit])
        low += digit << shift
        if shift == 0 or int(counts[digit]) <= _SORTED:
            break
        shift = max(0, shift - _DIGIT)
    edge = float(torch.tensor(low, dtype=kind[0]).view(kind[1]))
    # Entries are computed again, by another kernel maybe: a margin of rounding keeps those on the edge.
    return edge * (1 - 64 * torch.finfo(P.dtype).eps)


def _histogram(
    P: Coupling, kind: tuple[torch.dtype, torch.dtype], low: int, shift: int
) -> tuple[Float[Tensor, " d"], Int[Tensor, " d"]]:
    """Mass and number of the entries with the leading digits of ``low``, by their next digit."""
    size = 2**_DIGIT
    sums = torch.zeros(size, dtype=torch.float64, device=P.device)
    counts = torch.zeros(size, dtype=torch.long, device=P.device)
    for rows in _stream.row_blocks(P, width=4):
        entry = P._block(rows).reshape(-1).to(kind[1]).contiguous()
        digit = (entry.view(kind[0]) - low) >> shift
        inside = (digit >= 0) & (digit < size)
        digit = torch.where(inside, digit, 0).long()
        held = torch.where(inside, entry, 0).double()
        sums += torch.bincount(digit, weights=held, minlength=size)
        counts += torch.bincount(digit[inside], minlength=size)
    return sums, counts
