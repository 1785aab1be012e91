"""What a representation of a plan writes, and what follows at once: its shape, and its entries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._transforms import transformable
from monge._value import Value
from monge.errors import DenseLimitError, InputError

from . import _stream, _validate
from ._numbers import explicit, fraction, pick

if TYPE_CHECKING:
    from monge.geometry import Geometry

    from .base import Coupling
    from .sparse import SparseCoupling

__all__ = ["Entries", "Representation", "Rows"]

Rows = slice | Tensor
Entries = tuple[Tensor, Tensor, Tensor]


class Representation(Value, ABC):
    """A plan as something that can be read: the methods behind the questions of a `Coupling`.

    A representation writes the first four and may override the others. They are called with checked arguments, may
    broadcast over batch dimensions, and must be differentiable with respect to the tensors that the plan holds.
    """

    # How many dimensions of each tensor are not batch dimensions, so that problems of a batch can be picked.
    _core: ClassVar[dict[str, int]] = {}

    # ------------------------------------------------------------------ what a representation writes

    @abstractmethod
    def _shape(self) -> tuple[int, ...]:
        """(*b, n, m)."""

    @abstractmethod
    def _transpose(self) -> Coupling:
        """The same plan, read from the other side."""

    @abstractmethod
    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """P v; batch dimensions of v and P broadcast."""

    @abstractmethod
    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """Some rows (a slice, or a 1-D tensor of indices), dense, with all batch dimensions."""

    # ------------------------------------------------------------------ what it may write, for speed

    def _scalars_per_entry(self) -> int:
        """How many numbers `_block` holds per entry while it computes: this sets the size of blocks."""
        return 1

    def _entries(self) -> Entries | None:
        """All entries as (i, j, w), each (*b, k), where they are few; w = 0 is padding, equal places add up."""
        return None

    def _as_sparse(self) -> SparseCoupling | None:
        """The plan as a list, if its entries are few."""
        from .sparse import SparseCoupling

        entries = self._entries()
        if entries is None:
            return None
        (i, j, w), (*_, n, m) = entries, self._shape()
        return SparseCoupling._make(i=i, j=j, w=w, n=n, m=m)

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        """P 1."""
        return self._matmul(torch.ones(self._shape()[-1], 1, dtype=self.dtype, device=self.device))[..., 0]

    def _marginals(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        """P 1 and P^T 1."""
        return self._row_sums(), self._transpose()._row_sums()

    def _average(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """P v divided by P 1, zero where a row has no mass."""
        both = self._matmul(torch.cat([v, torch.ones_like(v[..., :1])], -1))
        return fraction(both[..., :-1], both[..., -1:])

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        """<P, C>."""
        sparse = self._as_sparse()
        if sparse is not None:
            return sparse._inner(geometry)
        factored = _stream.factored_inner(self, geometry)
        return _stream.inner(self, geometry) if factored is None else factored

    def _entropy(self) -> Float[Tensor, "*b"]:
        """-sum P log P."""
        sparse = self._as_sparse()
        return _stream.entropy(self) if sparse is None else sparse._entropy()

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        """P[i, j], entry by entry; indices may carry batch dimensions."""
        return _stream.at(self, i, j)

    def _sample_rows(self, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
        """A column for each row i, drawn from that row, by inversion at u in [0, 1)."""
        sparse = self._as_sparse()
        return _stream.sample_rows(self, i, u) if sparse is None else sparse._sample_rows(i, u)

    def _assignment(self) -> Int[Tensor, "*b n"] | None:
        """The bijection of largest total weight, if the plan knows it."""
        return None

    def _top_k(self, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
        """The k largest entries of each row, in decreasing order, and their columns."""
        return _stream.top_k(self, k)

    def _extract(self, threshold: float) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        """Where the entries above a threshold are, for a coupling without batch dimensions."""
        return _stream.extract(self, threshold)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> Coupling:
        """diag(row) P diag(col)."""
        from .glued import diagonal

        return diagonal(row, self, col)

    def _own_geometry(self) -> Geometry | None:
        """The costs it was made with, if it keeps them."""
        return None

    def _select(self, index: tuple[Any, ...], batch: torch.Size) -> Coupling:
        """The problems at ``index``, seen as a batch of shape ``batch``."""
        held = self._contents()
        if any(isinstance(part, Tensor) and name not in self._core for name, part in held.items()):
            from ._selected import Selected

            return Selected._make(P=self, index=index, batch=batch)
        picked: Any = self._make(**{name: self._pick(name, part, index, batch) for name, part in held.items()})
        return picked

    def _pick(self, name: str, part: Any, index: tuple[Any, ...], batch: torch.Size) -> Any:
        if isinstance(part, Tensor):
            return pick(part, self._core[name], batch, index)
        if isinstance(part, tuple):
            return tuple(self._pick(name, item, index, batch) for item in part)
        return part._select(index, batch) if hasattr(part, "_select") else part

    def _cheap_mass(self) -> Tensor | None:
        """The mass if it costs next to nothing, for `repr`."""
        return None

    def _told(self) -> tuple[str, ...]:
        """What else `repr` should say."""
        return ()

    # ------------------------------------------------------------------ shape and mass

    @property
    @final
    def shape(self) -> torch.Size:
        """(*b, n, m): batch dimensions, source points, target points."""
        return torch.Size(self._shape())

    @property
    @final
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return torch.Size(self._shape()[:-2])

    @property
    @final
    def T(self) -> Coupling:  # noqa: N802 - the mathematics says T
        """The same plan, read from the other side."""
        return self._transpose()

    @property
    @final
    def mass(self) -> Float[Tensor, "*b"]:
        """The sum of all entries, per problem."""
        return self._row_sums().expand(self._shape()[:-1]).sum(-1)

    def __repr__(self) -> str:
        """Class, shape and dtype, and the mass where it is cheap."""
        told = [f"shape={tuple(self._shape())}", str(self.dtype).removeprefix("torch."), *self._told()]
        mass = self._cheap_mass() if self.device.type == "cpu" else None
        if mass is not None and mass.numel() == 1:
            told.append(f"mass={mass.item():.4g}")
        return f"{type(self).__name__}({', '.join(told)})"

    # ------------------------------------------------------------------ entries

    @final
    @transformable
    def rows(self, index: int | slice | Sequence[int] | Int[Tensor, " k"]) -> Float[Tensor, "*b k m"]:
        """Some rows of the plan, dense.

        Args:
            index: A row (k = 1), a slice, or a list of rows; negative rows count from the end.

        Returns:
            The entries of those rows.

        Raises:
            InputError: If a row does not exist.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0])).rows(0)
            tensor([[0.0000, 0.5000]])
        """
        return self._block(_validate.rows(index, self._shape()[-2], self.device))

    @final
    def blocks(self, *, max_bytes: int = 2**26) -> Iterator[tuple[slice, Float[Tensor, "*b k m"]]]:
        """The plan from top to bottom, in dense blocks of rows.

        Args:
            max_bytes: The size of a block.

        Returns:
            An iterator over pairs of rows, a slice, and their entries.

        Raises:
            InputError: If ``max_bytes`` is not positive.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> P = PermutationCoupling(torch.arange(4))
            >>> [tuple(block.shape) for _, block in P.blocks(max_bytes=32)]
            [(2, 4), (2, 4)]
        """
        _validate.count("max_bytes", max_bytes, low=1)
        slices = _stream.row_blocks(self, max_bytes=max_bytes)
        return ((rows, self._block(rows)) for rows in slices)

    @final
    @transformable
    def dense(self, max_bytes: int = 2**30) -> Float[Tensor, "*b n m"]:
        """The whole matrix.

        Args:
            max_bytes: The largest matrix that is allowed.

        Returns:
            P.

        Raises:
            DenseLimitError: If the matrix would be larger.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0])).dense()
            tensor([[0.0000, 0.5000],
                    [0.5000, 0.0000]])
        """
        shape = self.shape
        size = math.prod(shape) * self.dtype.itemsize
        if size > max_bytes:
            raise DenseLimitError(
                f"The dense plan of shape {tuple(shape)} takes {size:,} bytes, more than max_bytes={max_bytes:,}: "
                "apply it with P @ v, read it with P.rows(i) or P.blocks(), shorten it with P.sparse(), or raise "
                "max_bytes."
            )
        return _stream.dense(self)

    @final
    def __getitem__(self, index: int | slice | Tensor | tuple[Any, ...]) -> Coupling:
        """Some problems of a batch: the index is that of a tensor of shape ``batch_shape``.

        Raises:
            InputError: If there is no batch or no such problem.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([[0, 1], [1, 0]]))[1].perm
            tensor([1, 0])
        """
        batch = self.batch_shape
        try:
            return self._select(explicit(index, batch), batch)
        except (IndexError, TypeError) as error:
            raise InputError(
                f"{index!r} picks no problem from a batch of shape {tuple(batch)}: rows of the plan are P.rows(i)."
            ) from error
