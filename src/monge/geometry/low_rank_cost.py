"""Costs of small rank."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_clouds, check_count, check_number
from monge._transforms import transformable
from monge._value import value
from monge.errors import InputError
from monge.kernels import Points

from ._clouds import Clouds
from ._range import check_products
from .base import Geometry

__all__ = ["LowRankCost"]

# Sampled rows and columns per unit of rank, and entries on which the error is measured.
_OVERSAMPLING = 5
_CHECKED_ENTRIES = 4096


@value
class LowRankCost(Clouds):
    r"""The cost $C = AB^\top$, stored as its factors.

    Args:
        A: Left factor.
        B: Right factor.
        error: How far the factors are from the cost that they approximate, in relative Frobenius norm; zero if they
            are exact. It is only a report and changes no result.

    Raises:
        ShapeError, DtypeError, DeviceError: If the factors do not fit together.
        InputError: If an entry is not finite or the error is negative.

    Example:
        >>> import torch
        >>> from monge.geometry import LowRankCost
        >>> LowRankCost(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])).dense()
        tensor([[3., 4.],
                [6., 8.]])
    """

    A: Float[Tensor, "*b n r"]
    B: Float[Tensor, "*b m r"]
    error: float = 0.0
    _sides = (("A", "B"),)

    def __post_init__(self) -> None:
        check_clouds(self.A, self.B, names=("A", "B"))
        check_products(self.A, self.B)
        check_number("error", self.error, low=0.0, infinity=True)

    @classmethod
    @transformable
    def from_geometry(cls, geometry: Geometry, rank: int, generator: torch.Generator | None = None) -> LowRankCost:
        """Factors of small rank for any finite cost, from a few sampled rows and columns.

        Columns are sampled first, then rows by their leverage on these columns, and then columns by their leverage on
        these rows. The leading directions of the last columns are the left factor, and the right factor is its
        least-squares fit on sampled rows. A few times 5 rank rows and columns are read, and (n + m) rank numbers are
        stored. Gradients reach the geometry through the last rows and columns. The error is measured on 4096 entries
        that were not used before.

        Args:
            geometry: A cost without forbidden pairs.
            rank: The number of columns of the factors. If the geometry has exact factors of no larger rank they are
                taken, and the error is zero.
            generator: The source of randomness.

        Returns:
            The cost, whose ``error`` is the measured relative error, the largest of a batch.

        Raises:
            InputError: If the rank is not positive or a pair is forbidden.

        Example:
            >>> import torch
            >>> from monge.geometry import LowRankCost, PointCloud
            >>> x = torch.linspace(0, 1, 300, dtype=torch.float64)[:, None]
            >>> cost = LowRankCost.from_geometry(PointCloud(x, x, "euclidean"), 20, torch.Generator().manual_seed(0))
            >>> cost.error < 1e-2
            True

        Source: Indyk, Vakilian, Wagner, Woodruff, "Sample-optimal low-rank approximation of distance matrices"
        (arXiv 1906.00339), which bounds what such sampling can reach.
        """
        check_count("rank", rank)
        exact = geometry.factors()
        if exact is not None and exact[0].shape[-1] <= rank:
            return cls(*exact)
        n, m = geometry.shape
        rank, device = min(rank, n, m), geometry.device
        rows, columns = min(n, _OVERSAMPLING * rank), min(m, _OVERSAMPLING * rank)
        transposed = geometry.T

        def draw(weights: Tensor, count: int) -> Tensor:
            # A little of the uniform law, so that no row is out of reach.
            law = weights / weights.sum() + 0.1 / len(weights)
            return torch.multinomial(law, count, generator=generator)

        with torch.no_grad():
            j = draw(torch.ones(m, device=device, dtype=torch.float64), columns)
            for _ in range(2):
                left = _read(transposed, j).mT
                i = draw(_leverage(left, rank), rows)
                right = _read(geometry, i)
                j = draw(_leverage(right.mT, rank), columns)
            left = _read(transposed, j).mT
            # The leading directions of the columns, as combinations of them; the basis is a choice, not a function.
            _, scale, basis = torch.linalg.svd(left, full_matrices=False)
            floor = (1e-12 * scale[..., :1]).clamp_min(torch.finfo(scale.dtype).tiny)
            kept = scale[..., :rank].maximum(floor)
            mix = basis.mT[..., :rank] / kept[..., None, :]
            i = draw(_leverage(left, rank), rows)
        factor = _read(transposed, j).mT @ mix
        fit = torch.linalg.pinv(factor[..., i, :], rtol=1e-10) @ _read(geometry, i)
        made = cls(factor.to(geometry.dtype), fit.mT.to(geometry.dtype))
        return cls(made.A, made.B, _error(geometry, made, generator))

    @property
    def rank(self) -> int:
        """The number of columns of the factors."""
        return self.A.shape[-1]

    def _pairs(self) -> Points:
        return Points(-self.A, self.B, "dot")


def _read(geometry: Geometry, rows: Tensor) -> Tensor:
    return _allowed(geometry._block(rows))


def _allowed(costs: Tensor) -> Tensor:
    if not bool(costs.isfinite().all()):
        raise InputError(
            "A cost that forbids pairs (+inf) has no low rank: give those pairs a large finite cost, or keep the "
            "geometry as it is."
        )
    return costs.double()


def _leverage(matrix: Tensor, rank: int) -> Tensor:
    """How much each row owns of the leading directions, averaged over the problems of a batch."""
    leading = torch.linalg.svd(matrix, full_matrices=False)[0][..., :rank]
    return (leading * leading).sum(-1).reshape(-1, matrix.shape[-2]).mean(0)


@torch.no_grad()
def _error(geometry: Geometry, made: LowRankCost, generator: torch.Generator | None) -> float:
    n, m = geometry.shape
    count, device = _CHECKED_ENTRIES, geometry.device
    i = torch.randint(n, (count,), generator=generator, device=device)
    j = torch.randint(m, (count,), generator=generator, device=device)
    wanted = _allowed(geometry._entries(i, j))
    off, size = (wanted - made._entries(i, j)).norm(dim=-1), wanted.norm(dim=-1)
    return float((off / size.clamp_min(torch.finfo(torch.float64).tiny)).max())
