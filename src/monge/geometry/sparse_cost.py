"""A cost of the pairs that may meet, and of no others."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at, column, working_dtype
from monge._checks import check_count, check_finite, check_floating, check_same
from monge._value import value
from monge.errors import InputError, ShapeError

from . import _stream
from .base import Geometry, Rows

__all__ = ["SparseCost"]


@value
class SparseCost(Geometry):
    r"""A cost of some pairs (i, j), in a list; all other pairs are forbidden, as if they cost infinity.

    Sums over j in $-\epsilon \log \sum_j b_j \exp((g_j - C_{ij}) / \epsilon)$ and the like go over the k pairs of the
    list, in time and memory of order k. Exact transport by `monge.solver.Simplex` reads the list too. A pair that costs
    zero may meet for nothing: it must be in the list. Problems of a batch share the pairs, not their costs.

    Args:
        i: The row of each pair.
        j: The column of each pair; no pair may be there twice.
        cost: The finite cost of each pair.
        n: How many source points there are.
        m: How many target points there are.

    Raises:
        ShapeError, DtypeError, DeviceError: If the lists do not fit together.
        InputError: If a pair lies outside, is there twice, or if a cost is not finite.

    Example:
        >>> import torch
        >>> from monge import couple
        >>> from monge.geometry import SparseCost
        >>> i, j = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
        >>> P = couple(SparseCost(i, j, torch.tensor([3.0, 1.0, 2.0]), 2, 2))
        >>> P.dense()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])

    Source: Ahuja, Magnanti, Orlin, Network Flows (1993), chapter 11, for exact transport along a list of arcs.
    """

    i: Int[Tensor, " k"]
    j: Int[Tensor, " k"]
    cost: Float[Tensor, "*b k"]
    n: int
    m: int
    _sides = (("i", "j"), ("n", "m"))

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("m", self.m)
        check_floating("cost", self.cost)
        for name, index, size in (("i", self.i, self.n), ("j", self.j, self.m)):
            if not isinstance(index, Tensor) or index.is_floating_point() or index.dtype == torch.bool:
                raise InputError(f"{name} must be a tensor of whole numbers, but is {_kind(index)}: use {name}.long().")
            if index.ndim != 1 or self.cost.ndim < 1 or index.shape[-1] != self.cost.shape[-1]:
                raise ShapeError(
                    f"i, j and cost must list the same pairs, but have shapes {tuple(self.i.shape)}, "
                    f"{tuple(self.j.shape)} and {tuple(self.cost.shape)}: give each pair one row, column and cost."
                )
            if len(index) and not bool(((index >= 0) & (index < size)).all()):
                raise InputError(
                    f"{name} must lie between 0 and {size - 1}, but goes from {int(index.min())} to "
                    f"{int(index.max())}: drop these pairs, or raise {'n' if name == 'i' else 'm'}."
                )
            object.__setattr__(self, name, index.long())
        if self.i.numel() == 0:
            raise InputError("i, j and cost must list at least one pair, but are empty: let some pair meet.")
        check_same(i=self.i, j=self.j)
        if not self.i.device == self.j.device == self.cost.device:
            check_same(i=self.i.to(self.cost.dtype), j=self.j.to(self.cost.dtype), cost=self.cost)
        check_finite("cost", self.cost.detach())
        keys = (self.i * self.m + self.j).sort().values
        again = (keys[1:] == keys[:-1]).nonzero()[:1, 0]
        if again.numel():
            pair = divmod(int(keys[again]), self.m)
            raise InputError(f"each pair must be in the list once, but {pair} is there twice: keep one of the costs.")

    @classmethod
    def of(cls, matrix: Any) -> SparseCost:
        """The cost that a sparse matrix stores: what it stores may meet, zeros included, and nothing else.

        Args:
            matrix: A sparse tensor of torch of shape (n, m), in any layout, or a sparse array or matrix of SciPy.

        Raises:
            InputError: If it is neither, or if its costs are not as they must be.
            ShapeError: If it has not two dimensions.

        Example:
            >>> import scipy.sparse
            >>> from monge.geometry import SparseCost
            >>> SparseCost.of(scipy.sparse.coo_array(([1.0, 2.0], ([0, 1], [1, 0])), shape=(2, 2))).dense()
            tensor([[inf, 1.],
                    [2., inf]], dtype=torch.float64)
        """
        if isinstance(matrix, Tensor) and matrix.layout != torch.strided:
            # Products with dense dimensions are no costs of pairs.
            stored = matrix.to_sparse_coo().coalesce()
            i, j, cost = (*stored.indices(), stored.values()) if stored.ndim == 2 else (None, None, None)
        elif hasattr(matrix, "tocoo") and not isinstance(matrix, Tensor):
            stored = matrix.tocoo()
            indices = (torch.as_tensor(index.astype("int64")) for index in (stored.row, stored.col))
            i, j, cost = *indices, torch.as_tensor(stored.data)
        else:
            raise InputError(
                f"matrix must be sparse, a tensor of torch or an array of SciPy, but is {_kind(matrix)}: a dense "
                "matrix is CostMatrix(matrix), where inf forbids a pair."
            )
        if i is None or j is None or cost is None:
            raise ShapeError(f"matrix must have two dimensions, but has shape {tuple(matrix.shape)}: pass one problem.")
        return cls(
            i, j, cost if cost.is_floating_point() else cost.to(torch.get_default_dtype()), *map(int, matrix.shape)
        )

    @property
    def shape(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        return self.n, self.m

    def _forbids(self) -> bool:
        return len(self.i) < self.n * self.m

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        asked = torch.arange(self.n, device=self.device)[rows]
        kept, inverse = asked.unique(return_inverse=True)
        place = torch.full((self.n,), -1, device=self.device)
        place[kept] = torch.arange(len(kept), device=self.device)
        here = (place[self.i] >= 0).nonzero()[:, 0]
        block = self.cost.new_full((*self.cost.shape[:-1], len(kept), self.m), math.inf)
        block[..., place[self.i[here]], self.j[here]] = self.cost[..., here]
        return block[..., inverse, :]

    def _wide_cost(self) -> Tensor:
        return self.cost.to(working_dtype(self.cost))

    def _log_sums(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the sum of exp(score) over the pairs of each row, zero where it is of nothing, and where."""
        with torch.no_grad():
            top = self._per_row(score.detach(), "amax", -math.inf)
            empty = top == -math.inf
            top = top.masked_fill(empty, 0)
        total = self._added((score - at(top, self.i)).exp())
        return top + total.masked_fill(empty, 1).log(), empty

    def _per_row(self, numbers: Tensor, reduce: str, start: float) -> Tensor:
        out = numbers.new_full((*numbers.shape[:-1], self.n), start)
        return out.scatter_reduce(-1, self.i.expand_as(numbers), numbers, reduce)

    def _added(self, numbers: Tensor) -> Tensor:
        """The sums over the pairs of each row."""
        return numbers.new_zeros((*numbers.shape[:-1], self.n)).index_add(-1, self.i, numbers)

    def _score(self, bias: Tensor, epsilon: float | Tensor) -> Tensor:
        return bias[..., self.j] - self._wide_cost() / column(epsilon)

    def _softmin(self, g: Tensor, log_b: Tensor, epsilon: float | Tensor) -> Tensor:
        total, empty = self._log_sums(self._score(_stream.column_bias(g, log_b, epsilon), epsilon))
        return (-column(epsilon) * total).masked_fill(empty, math.inf)

    def _apply(self, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Float[Tensor, "*b n k"]:
        score = self._score(col, epsilon)
        score = score + (-self._log_sums(score)[0] if row is None else row)[..., self.i]
        terms = score.exp()[..., None] * v[..., self.j, :].to(score.dtype)
        return terms.new_zeros((*terms.shape[:-2], self.n, terms.shape[-1])).index_add(-2, self.i, terms)

    def _sinkhorn(
        self, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        f = self._softmin(g, log_b, epsilon)
        image = self._transpose()._softmin(
            f.masked_fill(f == math.inf, 0), log_a.masked_fill(f == math.inf, -math.inf), epsilon
        )
        bias = _stream.column_bias(g, log_b, epsilon)
        # With f fresh the rows are exact, and column j holds b_j exp((g_j - T(f)_j) / epsilon).
        error = ((bias - image / column(epsilon)).exp() - log_b.exp()).abs().sum(-1)
        return f, image, error

    def _inner(self, row: Tensor, col: Tensor, epsilon: float | Tensor) -> Tensor:
        return ((self._score(col, epsilon) + row[..., self.i]).exp() * self._wide_cost()).sum(-1)

    def _mean(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        mass = a[..., self.i] * b[..., self.j]
        return (mass * self.cost.to(mass.dtype)).sum(-1), mass.sum(-1)

    def _top_k(self, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if k > 1:
            return super()._top_k(g, k)
        reduced = self._wide_cost() - g[..., self.j]
        order = reduced.detach()
        least = self._per_row(order, "amin", math.inf)
        first = torch.where(order == at(least, self.i), self.j, self.m)
        index = self._per_row(first, "amin", self.m)
        # Through one pair of each row, since the derivative of a minimum is shared among ties.
        pair = torch.where(first == at(index, self.i), torch.arange(len(self.i), device=self.device), len(self.i))
        pair = self._per_row(pair, "amin", len(self.i))
        alone = pair == len(self.i)
        chosen = at(reduced, pair.masked_fill(alone, 0)).masked_fill(alone, math.inf)
        return chosen[..., None], index.masked_fill(alone, 0)[..., None]

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        keys, order = (self.i * self.m + self.j).sort()
        wanted = i * self.m + j
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return at(self.cost, order[place]).masked_fill(keys[place] != wanted, math.inf)


def _kind(thing: Any) -> str:
    return f"a tensor of {thing.dtype}" if isinstance(thing, Tensor) else type(thing).__name__
