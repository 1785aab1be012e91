"""An entropic plan as an operator inside a linear solver: streamed, dense, or sparse."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from monge import kernels
from monge._arrays import row_blocks
from monge._blocks import joined
from monge._value import Value, value
from monge.geometry import Geometry

# Entries that a sparse plan may hold (both orders of them, of 12 bytes each, stay under 100 MB), and their share of
# all, above which a dense or a streamed product is as fast.
_SPARSE_ENTRIES = 2**22
_SPARSE_SHARE = 0.2
_SAMPLED_ROWS = 64


class Operator(ABC):
    """Products with a plan P and its transpose."""

    @property
    @abstractmethod
    def T(self) -> Self:  # noqa: N802 - the mathematics says T
        """The transpose."""

    @abstractmethod
    def squared(self) -> Operator:
        """The squares of all entries."""

    @abstractmethod
    def rows(self, g: Float[Tensor, "*b m"]) -> Float[Tensor, "*b n"]:
        """P g."""

    def columns(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        """P^T f."""
        return self.T.rows(f)


@value
class StreamedOperator(Operator, Value):
    """P_ij = exp(row_i + col_j - C_ij / epsilon), computed again for every product."""

    geometry: Geometry
    row: Float[Tensor, "*b n"]
    col: Float[Tensor, "*b m"]
    epsilon: Float[Tensor, "*b"]

    @property
    def T(self) -> StreamedOperator:  # noqa: N802
        return StreamedOperator(self.geometry.T, self.col, self.row, self.epsilon)

    def rows(self, g: Tensor) -> Tensor:
        return self.geometry._apply(self.row, self.col, g[..., None], self.epsilon)[..., 0]

    def squared(self) -> StreamedOperator:
        return StreamedOperator(self.geometry, 2 * self.row, 2 * self.col, self.epsilon / 2)

    def with_sums(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """P g, and P 1 from the same pass."""
        both = self.geometry._apply(self.row, self.col, torch.stack([g, torch.ones_like(g)], -1), self.epsilon)
        return both[..., 0], both[..., 1]

    def entries(self) -> int:
        """How many entries a dense copy would hold, over the whole batch."""
        n, m = self.geometry.shape
        return math.prod(self.epsilon.shape) * n * m

    def dense(self) -> DenseOperator:
        """A copy that is stored, in double precision."""
        return DenseOperator(self._exponential(slice(None)).double())

    def sparse(self, threshold: Float[Tensor, "*b"]) -> SparseOperator | None:
        """The entries above a threshold; None if they are too many in some problem, or on an accelerator."""
        if self.row.device.type != "cpu":
            return None
        n, m = self.geometry.shape
        step = max(1, n // _SAMPLED_ROWS)
        sample = torch.arange(0, n, step, device=self.row.device)
        share = (self._exponential(sample) > threshold[..., None, None]).double().mean((-1, -2))
        if bool((share > _SPARSE_SHARE).any()) or float(share.sum()) * n * m > 0.8 * _SPARSE_ENTRIES:
            return None
        batch = self.epsilon.shape
        parts = []
        # The problems of a batch are the blocks of one matrix.
        for k, index in enumerate(itertools.product(*map(range, batch))):
            i, j, w = self._select(index)._extract(float(threshold[index]))
            parts.append((i + k * n, j + k * m, w))
        i, j, w = (torch.cat(part) for part in zip(*parts, strict=True))
        return SparseOperator.of(i, j, w, (len(parts) * n, len(parts) * m))

    def _select(self, index: tuple[int, ...]) -> StreamedOperator:
        """The plan of one problem of the batch."""
        if not index:
            return self
        geometry = self.geometry._select(index, self.epsilon.shape)
        return StreamedOperator(geometry, self.row[index], self.col[index], self.epsilon[index])

    def _exponential(self, rows: slice | Tensor) -> Tensor:
        cost = self.geometry._block(rows).to(self.row.dtype)
        return torch.exp(self.row[..., rows, None] + self.col[..., None, :] - cost / self.epsilon[..., None, None])

    def _extract(self, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        pairs = self.geometry._pairs()
        if pairs is not None:
            return kernels.extract(pairs, self.row, self.col, self.epsilon, threshold)
        n, m = self.geometry.shape

        def body(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            block = self._exponential(rows)
            i, j = (block > threshold).nonzero(as_tuple=True)
            return i + rows.start, j, block[i, j]

        return joined(body, row_blocks(n, 4 * m, _SPARSE_ENTRIES), 0)


@dataclass(frozen=True)
class DenseOperator(Operator):
    """A stored plan; products have its precision, and are returned in that of the vector."""

    matrix: Float[Tensor, "*b n m"]

    @property
    def T(self) -> DenseOperator:  # noqa: N802
        return DenseOperator(self.matrix.mT)

    def squared(self) -> DenseOperator:
        return DenseOperator(self.matrix * self.matrix)

    def rows(self, g: Tensor) -> Tensor:
        return (self.matrix @ g.to(self.matrix.dtype)[..., None])[..., 0].to(g.dtype)

    def gram(self, f: Tensor) -> Tensor:
        """P^T diag(f) P."""
        half = f.sqrt()[..., None] * self.matrix
        return half.mT @ half


@dataclass(frozen=True)
class SparseOperator(Operator):
    """The large entries of the plans of a batch, block by block, by rows and by columns, as SciPy holds them."""

    matrix: Any
    transpose: Any

    @classmethod
    def of(cls, i: Tensor, j: Tensor, w: Tensor, shape: tuple[int, int]) -> SparseOperator:
        """From lists of entries."""
        from scipy.sparse import csr_matrix

        matrix = csr_matrix((w.double().numpy(), (i.numpy(), j.numpy())), shape=shape)
        return cls(matrix, matrix.T.tocsr())

    @property
    def T(self) -> SparseOperator:  # noqa: N802
        return SparseOperator(self.transpose, self.matrix)

    def squared(self) -> SparseOperator:
        return SparseOperator(self.matrix.power(2), self.transpose.power(2))

    def rows(self, g: Tensor) -> Tensor:
        product = torch.from_numpy(self.matrix @ g.double().reshape(-1).numpy())
        return product.reshape(*g.shape[:-1], -1).to(g.dtype)

    def gram(self, f: Tensor) -> Tensor:
        """P^T diag(f) P, stored whole."""
        blocks, m = math.prod(f.shape[:-1]), self.matrix.shape[1] // math.prod(f.shape[:-1])
        half = self.matrix.multiply(f.double().sqrt().reshape(-1, 1).numpy()).tocsr()
        product = (half.T @ half).tocsr()
        parts = [torch.from_numpy(product[k * m : (k + 1) * m, k * m : (k + 1) * m].toarray()) for k in range(blocks)]
        return torch.stack(parts).reshape(*f.shape[:-1], m, m)
