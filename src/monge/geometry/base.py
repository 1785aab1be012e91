"""The base class of geometries: a cost between two sets of points, and all questions that it answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge import kernels
from monge._arrays import broadcast_shapes, explicit, working_dtype
from monge._blocks import entries
from monge._checks import check_same, check_weights, chosen_rows
from monge._sided import Picked, Sided
from monge._transforms import transformable
from monge._users_arrays import take_fields
from monge._value import value
from monge.errors import DenseLimitError, InfeasibleError, InputError

from . import _stream
from .space import Space

if TYPE_CHECKING:
    from .sum import Sum

__all__ = ["Geometry", "Rows"]

Rows = slice | Tensor


class Geometry(Sided, ABC):
    """A cost C_ij between n source points and m target points, as an operator.

    A geometry never has to hold the n x m matrix. A new one writes `_block(rows)` and `_transpose()`. Everything
    else is then computed block by block, and is differentiable, with the memory of one block in the forward and the
    backward pass. If the kernels know the cost, the geometry also writes `_pairs()`, which makes everything fast.

    A cost of +inf forbids a pair. A geometry knows neither a temperature nor weights, and squared distances
    carry no factor one half. Leading dimensions are batch dimensions and broadcast as torch does.

    Example:
        >>> import torch
        >>> from monge.geometry import Geometry, value
        >>> @value
        ... class Hyperbolic(Geometry):
        ...     x: torch.Tensor
        ...     y: torch.Tensor
        ...
        ...     def _block(self, rows):
        ...         return torch.cosh(self.x[rows, None] - self.y[None, :])
        ...
        ...     def _transpose(self):
        ...         return Hyperbolic(self.y, self.x)
        >>> Hyperbolic(torch.zeros(3), torch.zeros(2)).shape
        (3, 2)
    """

    _enter = take_fields

    # ------------------------------------------------------------------ what a geometry writes

    @abstractmethod
    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """The costs of some rows (a slice, or a 1-D tensor of indices), dense."""

    # ------------------------------------------------------------------ what it may write, for speed

    def _on_line(self) -> tuple[Tensor, Tensor] | None:
        """The points, if they lie on a line and the cost is convex in x - y, up to terms of one side."""
        return None

    def _pairs(self) -> kernels.Pairs | None:
        """The cost as the kernels know it, or None."""
        return None

    def _space(self) -> Space | None:
        """Where the points lie, for a cost between points that knows what others would cost."""
        return None

    def _forbids(self) -> bool:
        """Whether some pair costs +inf."""
        if isinstance(self._pairs(), kernels.Points):
            return False
        with torch.no_grad():
            return any(bool((self._block(rows) == math.inf).any()) for rows in _stream.row_blocks(self))

    def _may_be_negative(self) -> bool:
        """Whether costs below zero are possible."""
        return True

    def _vanishes(self) -> bool:
        """Whether costs of points that differ may have been rounded to zero."""
        return False

    def _scalars_per_entry(self) -> int:
        """How many numbers `_block` holds per entry while it computes: this sets the size of blocks."""
        return 1

    def _wide(self) -> Geometry:
        """The same costs, computed at least in float32: squares soon leave the range of half precision."""
        wide = working_dtype(self)
        return self if wide == self.dtype else self.to(wide)

    def _selected(self, index: tuple[Any, ...], batch: torch.Size) -> Geometry:
        return _Selected(self, index, batch)

    def _dense(self) -> Float[Tensor, "*b n m"]:
        """All costs at once."""
        return torch.cat([self._block(rows) for rows in _stream.row_blocks(self)], -2)

    def _factors(self) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]] | None:
        return None

    def _softmin(
        self, g: Float[Tensor, "*b m"], log_b: Float[Tensor, "*b m"], epsilon: float | Tensor
    ) -> Float[Tensor, "*b n"]:
        """The soft c-transform -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon)."""
        bias, pairs = _stream.column_bias(g, log_b, epsilon), self._pairs()
        if pairs is None:
            return _stream.softmin(self, bias, epsilon)
        return kernels.softmin(pairs, bias, epsilon)

    def _apply(
        self,
        row: Float[Tensor, "*b n"] | None,
        col: Float[Tensor, "*b m"],
        v: Float[Tensor, "*b m k"],
        epsilon: float | Tensor,
    ) -> Float[Tensor, "*b n k"]:
        """Sums over j of exp(row_i + col_j - C_ij / epsilon) v_jk; without ``row``, the mean of v."""
        pairs = self._pairs()
        if pairs is None:
            return _stream.apply(self, row, col, v, epsilon)
        return kernels.apply(pairs, row, col, v, epsilon)

    def _ctransform(self, g: Float[Tensor, "*b m"]) -> tuple[Float[Tensor, "*b n"], Int[Tensor, "*b n"]]:
        """The minimum of C_ij - g_j over j, and the column where it is attained."""
        least, index = self._top_k(g, 1)
        return least[..., 0], index[..., 0]

    def _top_k(self, g: Float[Tensor, "*b m"], k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
        """The k smallest C_ij - g_j of each row in increasing order, and their columns."""
        pairs = self._pairs()
        if pairs is None:
            return _stream.top_k(self, g, k)
        return kernels.top_k(pairs, g, k)

    def _sinkhorn(
        self,
        g: Float[Tensor, "*b m"],
        log_a: Float[Tensor, "*b n"],
        log_b: Float[Tensor, "*b m"],
        epsilon: float | Tensor,
    ) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"], Float[Tensor, "*b"]]:
        """One iteration, without gradient: f = T(g), the next g, and the L1 column error of (f, g)."""
        pairs = self._pairs()
        if pairs is None:
            return _stream.sinkhorn(self, g, log_a, log_b, epsilon)
        return kernels.sinkhorn(pairs, g, log_a, log_b, epsilon)

    def _inner(
        self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"], epsilon: float | Tensor
    ) -> Float[Tensor, "*b"]:
        """<P, C> for P_ij = exp(row_i + col_j - C_ij / epsilon), differentiable in everything."""
        pairs = self._pairs()
        factors = None if pairs is None else self._factors()
        terms = None
        if factors is not None:
            terms = factors[0] * self._apply(row, col, factors[1], epsilon)
        elif isinstance(pairs, kernels.Points) and not _stream.derives(epsilon, row, col, *pairs.tensors()):
            terms = _stream.gradients(pairs, row, col, epsilon)
        total = None if terms is None else _stream.resolved(terms)
        return _stream.inner(self, row, col, epsilon) if total is None else total

    def _factored_inner(self, spread: Callable[[Tensor], Tensor]) -> Float[Tensor, "*b"] | None:
        """<P, A B^T> = <A, P B> for the plan that ``spread`` applies; None without factors, or if rounding is seen."""
        factors = self._factors()
        return None if factors is None else _stream.resolved(factors[0] * spread(factors[1]))

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        """C[i, j], entry by entry, differentiable; indices may carry batch dimensions."""
        batch = broadcast_shapes(self.batch_shape, i.shape[:-1], j.shape[:-1])
        return entries(self, batch, i, j)

    def _mean(self, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> tuple[Tensor, Tensor]:
        """The sum of a_i b_j C_ij over finite costs, and of a_i b_j over the same pairs."""
        factors = self._factors()
        if factors is None:
            return _stream.mean(self, a, b)
        left = (a[..., None, :] @ factors[0].to(a.dtype))[..., 0, :]
        right = (b[..., None, :] @ factors[1].to(b.dtype))[..., 0, :]
        return (left * right).sum(-1), a.sum(-1) * b.sum(-1)

    # ------------------------------------------------------------------ what everybody may ask

    @property
    def shape(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        if self._sides:
            return self._counts()
        first = slice(0, 1)
        return self._transpose()._block(first).shape[-1], self._block(first).shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return self._leading() if self._sides else self._block(slice(0, 1)).shape[:-2]

    @property
    def T(self) -> Geometry:  # noqa: N802
        """The same costs with rows and columns exchanged."""
        return self._transpose()

    @final
    @transformable
    def block(self, rows: int | slice | Sequence[int] | Int[Tensor, " k"]) -> Float[Tensor, "*b k m"]:
        """The costs of some rows, dense.

        Args:
            rows: A row (k = 1), a slice of rows, or a list of rows; negative rows count from the end.

        Raises:
            InputError: If a row does not exist.
        """
        return self._block(chosen_rows(rows, self.shape[0], self.device))

    @final
    @transformable
    def dense(self, max_bytes: int = 2**30) -> Float[Tensor, "*b n m"]:
        """The whole matrix C.

        Args:
            max_bytes: The largest matrix that is allowed, in bytes.

        Raises:
            DenseLimitError: If the matrix would be larger.
        """
        n, m = self.shape
        size = math.prod(self.batch_shape) * n * m * torch.finfo(self.dtype).bits // 8
        if size > max_bytes:
            raise DenseLimitError(
                f"The dense cost of shape {(*self.batch_shape, n, m)} takes {size:,} bytes, more than "
                f"max_bytes={max_bytes:,}: read blocks with geometry.block(rows), or raise max_bytes."
            )
        return self._dense()

    @final
    def factors(self) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]] | None:
        """Matrices A and B of small rank with C = A B^T, at least in float32, if the cost has them; or else None."""
        return self._factors()

    @final
    @transformable
    def mean(
        self, a: Float[Tensor, "*b n"] | None = None, b: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b"]:
        r"""The mean cost of independent points, over the pairs that are allowed.

        $\sum_{ij} a_i b_j C_{ij} / \sum_{ij} a_i b_j$ over finite $C_{ij}$: a natural unit of temperature.

        Args:
            a: Weights of the source points, uniform by default.
            b: Weights of the target points, uniform by default.

        Returns:
            One number per problem.

        Raises:
            InfeasibleError: If every pair of points with mass is forbidden.
        """
        n, m = self.shape
        dtype = working_dtype(self)
        for name, weights, count in (("a", a, n), ("b", b, m)):
            if weights is not None:
                check_weights(name, weights, count)
        check_same(a=a, b=b)
        a = torch.ones(n, dtype=dtype, device=self.device) if a is None else a.to(dtype)
        b = torch.ones(m, dtype=dtype, device=self.device) if b is None else b.to(dtype)
        total, mass = self._mean(a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))
        if bool((mass <= 0).any()):
            raise InfeasibleError(
                "The mean cost does not exist when all pairs of positive weight are forbidden: "
                "allow at least one pair, that is, give it a finite cost."
            )
        return total / mass

    def __getitem__(self, index: int | slice | Tensor | tuple[Any, ...]) -> Geometry:
        """Some problems of a batch: the index is that of a tensor of shape ``batch_shape``.

        Raises:
            InputError: If there is no batch or no such problem.
        """
        batch = self.batch_shape
        try:
            return self._select(explicit(index, batch), batch)
        except (IndexError, TypeError) as error:
            raise InputError(
                f"{index!r} is no valid index for a batch of shape {tuple(batch)}: for rows of the cost use "
                f"geometry.block(rows)."
            ) from error

    # ------------------------------------------------------------------ algebra

    def __add__(self, other: Geometry) -> Sum:
        """The sum of two costs between the same points."""
        from .sum import Sum

        if not isinstance(other, Geometry):
            return NotImplemented
        return Sum((self, other))

    def __mul__(self, weight: float | Tensor) -> Sum:
        """The cost times a number, or times one number per problem."""
        from .sum import Sum

        if not isinstance(weight, (int, float, Tensor)):
            return NotImplemented
        return Sum((self,), (weight,))

    __rmul__ = __mul__


@value
class _Selected(Picked, Geometry):
    """Some problems of a geometry."""
