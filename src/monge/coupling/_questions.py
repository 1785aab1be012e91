"""How any coupling answers: from its entries where they are few, else block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from monge.errors import InfeasibleError
from monge.kernels.stream import BLOCK_BYTES

if TYPE_CHECKING:
    from monge.geometry import Geometry

    from .base import Coupling
    from .sparse import SparseCoupling
    from .sum import SumCoupling


def row_slices(P: Coupling, max_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices of rows that take about ``max_bytes`` when dense."""
    *batch, n, m = P.shape
    per_row = math.prod(batch) * m * torch.finfo(P.dtype).bits // 8
    step = max(1, max_bytes // max(1, per_row))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def recompute(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, computed again in a backward pass instead of kept for it."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


def sum_over_blocks(P: Coupling, function: Callable[[slice], Tensor]) -> Tensor:
    """The sum of ``function(rows)`` over blocks of rows, differentiable, in the memory of a block."""
    total: Tensor | None = None
    for rows in row_slices(P):
        part = recompute(function, rows)
        total = part if total is None else total + part
    assert total is not None
    return total


def inner(P: Coupling, geometry: Geometry) -> Tensor:
    """<P, C>."""
    entries = P._entries()
    if entries is not None:
        i, j, w = entries
        cost = geometry._entries(i, j)
        return torch.where(w > 0, w * torch.where(w > 0, cost, 0), 0).sum(-1)
    factors = geometry.factors()
    if factors is not None:
        left, right = factors
        return (left * P._matmul(right)).sum((-1, -2))

    def body(rows: slice) -> Tensor:
        block, cost = P._block(rows), geometry._block(rows)
        return torch.where(block > 0, block * torch.where(block > 0, cost, 0), 0).sum((-1, -2))

    return sum_over_blocks(P, body)


def entropy(P: Coupling) -> Tensor:
    """-sum P log P."""
    entries = P._entries()
    if entries is not None:
        return _entropy(entries[2]).sum(-1)
    return sum_over_blocks(P, lambda rows: _entropy(P._block(rows)).sum((-1, -2)))


def _entropy(w: Tensor) -> Tensor:
    present = w > 0
    safe = torch.where(present, w, 1)
    return torch.where(present, -safe * safe.log(), 0)


def top_k(P: Coupling, k: int) -> tuple[Tensor, Tensor]:
    """Columns and values of the k largest entries of each row, in decreasing order."""
    parts = []
    for rows in row_slices(P):

        def body(rows: slice) -> tuple[Tensor, Tensor]:
            block = P._block(rows)
            index = block.detach().topk(k, -1).indices
            return index, block.gather(-1, index)

        parts.append(recompute(body, rows))
    return torch.cat([part[0] for part in parts], -2), torch.cat([part[1] for part in parts], -2)


@torch.no_grad()
def sample_rows(P: Coupling, rows: Tensor, generator: torch.Generator | None) -> Tensor:
    """A column for each row, by inverting the row's cumulative distribution."""
    *batch, n, _ = P.shape
    step = max(1, (next(iter(row_slices(P))).stop if n else 1))
    parts = []
    for start in range(0, len(rows), step):
        running = P._block(rows[start : start + step]).double().cumsum(-1)
        total = running[..., -1:]
        # 1 - u lies in (0, 1]: a target of zero mass in front is never hit.
        draw = 1 - torch.rand(total.shape, generator=generator, dtype=torch.float64, device=rows.device)
        j = torch.searchsorted(running, draw * total)
        last = (running < total).sum(-1, keepdim=True)
        parts.append(torch.minimum(j, last)[..., 0])
    return torch.cat(parts, -1) if parts else torch.empty(*batch, 0, dtype=torch.long, device=rows.device)


@torch.no_grad()
def sample(P: Coupling, k: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """K independent pairs: a row by its mass, then a column."""
    if not P.batch_shape:
        row = P._marginals()[0].double()
        running = row.cumsum(-1)
        if not bool(running[-1] > 0):
            raise InfeasibleError("A plan without mass has no pairs to sample: it moves nothing.")
        draw = 1 - torch.rand(k, generator=generator, dtype=torch.float64, device=P.device)
        i = torch.searchsorted(running, draw * running[-1]).clamp_(max=int((running < running[-1]).sum()))
        return i, P._sample_rows(i, generator)
    batch = P.batch_shape
    flat = [
        P[tuple(int(c) for c in index)]
        for index in torch.cartesian_prod(*map(torch.arange, batch)).reshape(-1, len(batch))
    ]
    pairs = [sample(one, k, generator) for one in flat]
    return tuple(torch.stack(side).reshape(*batch, k) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def assignment(P: Coupling) -> Tensor:
    """The bijection of largest total weight."""
    from scipy.optimize import linear_sum_assignment

    dense = P.dense().detach().double().cpu()
    flat = dense.reshape(-1, *dense.shape[-2:])
    found = [torch.as_tensor(linear_sum_assignment(one.numpy(), maximize=True)[1]) for one in flat]
    return torch.stack(found).reshape(dense.shape[:-1]).to(P.device)


def sparse_by_threshold(P: Coupling, threshold: float) -> SparseCoupling:
    """All entries above the threshold."""
    from .sparse import SparseCoupling

    *_, n, m = P.shape
    entries = P._entries()
    if entries is not None:
        keep = entries[2] > threshold
        i, j, w = (part[keep] for part in entries)
    else:
        parts = []
        for rows in row_slices(P):
            block = P._block(rows)
            where = (block.detach() > threshold).nonzero(as_tuple=True)
            parts.append((where[0] + rows.start, where[1], block[where]))
        i, j, w = (torch.cat(side) for side in zip(*parts, strict=True))
    return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m)


def sparse_by_mass(P: Coupling, share: float) -> SparseCoupling:
    """The fewest entries that hold a share of the mass: a histogram of magnitudes says where to cut."""
    from .sparse import SparseCoupling

    bins, octaves = 4096, 64.0
    with torch.no_grad():
        entries = P._entries()
        blocks = [entries[2][None]] if entries is not None else None

        def each() -> Iterator[Tensor]:
            return iter(blocks) if blocks is not None else (P._block(rows) for rows in row_slices(P))

        top = max((float(block.max()) for block in each() if block.numel()), default=0.0)
        if top <= 0:
            return sparse_by_threshold(P, 0.0)
        held = torch.zeros(bins, dtype=torch.float64, device=P.device)
        for block in each():
            w = block[block > 0].double()
            bucket = ((math.log2(top) - w.log2()) * (bins / octaves)).long().clamp_(0, bins - 1)
            held += torch.bincount(bucket, weights=w, minlength=bins)
        wanted = share * held.sum()
        cut = int((held.cumsum(0) < wanted).sum())
        floor = 0.0 if cut >= bins - 1 else top * 2.0 ** (-(cut + 1) * octaves / bins) * (1 - 1e-6)
    found = sparse_by_threshold(P, floor)
    order = found.w.detach().argsort(descending=True, stable=True)
    running = found.w.detach().double()[order].cumsum(0)
    keep = order[: int((running < wanted * (1 - 1e-12)).sum()) + 1].sort().values
    return SparseCoupling._make(i=found.i[keep], j=found.j[keep], w=found.w[keep], n=found.n, m=found.m)


def scale(P: Coupling, row: Tensor, col: Tensor) -> Coupling:
    """diag(row) P diag(col), by gluing with two diagonal couplings."""
    from .glued import GluedCoupling

    left, right = diagonal(row), diagonal(col)
    one_n, one_m = torch.ones_like(row), torch.ones_like(col)
    inside = GluedCoupling._make(P=left, Q=P, mu=one_n)
    return GluedCoupling._make(P=inside, Q=right, mu=one_m)


def diagonal(weights: Tensor) -> Coupling:
    """diag(weights) as a coupling."""
    from .permutation import PermutationCoupling

    perm = torch.arange(weights.shape[-1], device=weights.device).expand(weights.shape)
    return PermutationCoupling._make(perm=perm, mass=weights)


def rounded(P: Coupling, a: Tensor, b: Tensor) -> SumCoupling:
    """The plan scaled under a and b, plus a product of what is missing."""
    from .product import ProductCoupling
    from .sum import SumCoupling

    def down(wanted: Tensor, reached: Tensor) -> Tensor:
        return torch.where(reached > wanted, wanted / torch.where(reached > 0, reached, 1), 1)

    row = down(a, P._marginals()[0])
    under = P._scale(row, torch.ones_like(b))
    col = down(b, under._marginals()[1])
    under = P._scale(row, col)
    reached_a, reached_b = under._marginals()
    missing_a, missing_b = (a - reached_a).clamp_min(0), (b - reached_b).clamp_min(0)
    rest = ProductCoupling(missing_a, missing_b, missing_a.sum(-1))
    return SumCoupling((under, rest))
