"""One coupling of every kind, also in sizes that often cause errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monge.coupling import (
    Coupling,
    DenseCoupling,
    FactoredCoupling,
    GluedCoupling,
    MixtureCoupling,
    MonotoneCoupling,
    PermutationCoupling,
    PotentialCoupling,
    ProductCoupling,
    SparseCoupling,
    SumCoupling,
)
from monge.geometry import CostMatrix, PointCloud

from ._numbers import merged

__all__ = ["Example", "couplings"]

# Square, wide, tall, a single row, a single point.
SHAPES = ((4, 4), (3, 5), (6, 2), (1, 3), (1, 1))
BATCHES = ((), (2,), (2, 1, 2))


@dataclass(frozen=True)
class Example:
    """A coupling for tests, and a name that says what is special about it.

    Args:
        name: Class, shape, and whether it has absent points.
        coupling: The coupling.
    """

    name: str
    coupling: Coupling


def couplings(
    *,
    dtype: torch.dtype = torch.float64,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    batches: Sequence[tuple[int, ...]] = BATCHES,
    zeros: Sequence[bool] = (False, True),
    seed: int = 0,
) -> Iterator[Example]:
    """Every representation x batch x shape, without and with points of no mass.

    Args:
        dtype: The dtype of all numbers.
        shapes: Pairs (n, m); representations that are square use only those with n = m.
        batches: Batch dimensions.
        zeros: Whether the first source point and the last target point are absent.
        seed: Seed of the random numbers.

    Returns:
        The examples, one after the other.

    Example:
        >>> from monge.testing import check_coupling, couplings
        >>> for example in couplings(shapes=[(2, 3)], batches=[()]):
        ...     check_coupling(example.coupling)
    """
    for n, m in shapes:
        for batch in batches:
            for absent in zeros:
                if absent and min(n, m) == 1:
                    continue
                make = _Maker(n, m, batch, absent, dtype, torch.Generator().manual_seed(seed))
                for name, build in _builders(make).items():
                    told = f"{name}-{'x'.join(map(str, (*batch, n, m)))}{'-absent' if absent else ''}"
                    yield Example(told, build())


@dataclass(frozen=True)
class _Maker:
    """Random ingredients of one shape, with the first row and the last column absent if wanted."""

    n: int
    m: int
    batch: tuple[int, ...]
    absent: bool
    dtype: torch.dtype
    generator: torch.Generator

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=torch.float64).to(self.dtype) + 0.05

    def a(self, *batch: int) -> Tensor:
        return self._weights(batch, self.n, 0)

    def b(self, *batch: int) -> Tensor:
        return self._weights(batch, self.m, -1)

    def _weights(self, batch: tuple[int, ...], count: int, missing: int) -> Tensor:
        weights = self.rand(*batch, count)
        if self.absent:
            weights[..., missing] = 0
        return weights / weights.sum(-1, keepdim=True)

    def matrix(self, *batch: int) -> Tensor:
        plan = self.rand(*batch, self.n, self.m)
        if self.absent:
            plan[..., 0, :] = plan[..., -1] = 0
        return plan / plan.sum((-1, -2), keepdim=True)

    def perms(self, *batch: int) -> Tensor:
        return self.rand(*batch, self.n).argsort(-1)


def _builders(make: _Maker) -> dict[str, Callable[[], Coupling]]:
    n, m, batch = make.n, make.m, make.batch
    simple: dict[str, Callable[[], Coupling]] = {
        "dense": lambda: DenseCoupling(make.matrix(*batch)),
        "product": lambda: ProductCoupling(make.a(*batch), make.b()),
        "sparse": lambda: _sparse(make),
        "monotone": lambda: _monotone(make),
        "factored": lambda: _factored(make),
        "potential": lambda: _potential(make, "exp"),
        "potential, forbidden pairs": lambda: _potential(make, "exp", forbid=True),
        "potential, quadratic link": lambda: _potential(make, "quadratic"),
        "potential, quadratic link, forbidden pairs": lambda: _potential(make, "quadratic", forbid=True),
        "mixture of matrices": lambda: MixtureCoupling(DenseCoupling(make.matrix(*batch, 3)), make.rand(*batch, 3)),
        "mixture of lists": lambda: MixtureCoupling(_sparse(make, 2), make.rand(2)),
        "glued": lambda: GluedCoupling(_factored(make), ProductCoupling(make.b(), make.b(*batch))),
        "rounded": lambda: _potential(make, "exp").round(make.a(), make.b(*batch)),
    }
    if n == m:
        square: dict[str, Callable[[], Coupling]] = {
            "permutation": lambda: PermutationCoupling(make.perms(*batch), make.a()),
            "mixture of permutations": lambda: MixtureCoupling(
                PermutationCoupling(make.perms(*batch, 3), make.a()), make.rand(*batch, 3)
            ),
            "sum": lambda: SumCoupling((PermutationCoupling(make.perms(), make.a()), _sparse(make))),
        }
        simple.update(square)
    return simple


def _sparse(make: _Maker, *more: int) -> SparseCoupling:
    """Entries at random places, some of them twice, some of weight zero; none at absent points."""
    batch = (*make.batch, *more)
    k = make.n + make.m
    first, last = int(make.absent), make.m - int(make.absent)
    i = torch.randint(first, make.n, (*batch, k), generator=make.generator)
    j = torch.randint(0, last, (*batch, k), generator=make.generator)
    i[..., 1], j[..., 1] = i[..., 0], j[..., 0]
    w = make.rand(*batch, k)
    w[..., -1] = 0
    return SparseCoupling(i, j, w / w.sum(-1, keepdim=True), make.n, make.m)


def _monotone(make: _Maker) -> MonotoneCoupling:
    """The monotone rearrangement of two random orders, from the levels of both cumulative weights."""
    a, b = make.a(*make.batch), make.b(*make.batch)
    rows, columns = make.perms(*make.batch), make.rand(*make.batch, make.m).argsort(-1)
    i, j, w = merged(a.gather(-1, rows), b.gather(-1, columns))
    return MonotoneCoupling(rows.gather(-1, i), columns.gather(-1, j), w, make.n, make.m)


def _factored(make: _Maker) -> FactoredCoupling:
    g = make.rand(*make.batch, 3)
    g[..., 1] = 0
    return FactoredCoupling(make.a()[:, None] * make.rand(make.n, 3), make.b()[:, None] * make.rand(make.m, 3), g)


def _potential(make: _Maker, link: str, *, forbid: bool = False) -> PotentialCoupling:
    batch = make.batch
    f, g, a, b = make.rand(*batch, make.n), make.rand(make.m), make.a(), make.b(*batch)
    if make.absent:
        # Whatever stands at an absent point must not matter.
        f[..., 0] = -math.inf
        g[..., -1] = 1e3
    if forbid:
        cost = make.rand(*batch, make.n, make.m)
        cost = cost.masked_fill(make.rand(*batch, make.n, make.m) < 0.3, math.inf)
        cost[..., -1, 0] = 0.5
        return PotentialCoupling(CostMatrix(cost), f, g, a, b, 0.5, link)
    geometry = PointCloud(make.rand(make.n, 2), make.rand(*batch, make.m, 2))
    return PotentialCoupling(geometry, f, g, a, b, make.rand(*batch) + 0.2, link)
