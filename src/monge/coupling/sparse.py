"""A plan by its entries."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_finite, check_floating, check_number
from monge._value import value
from monge.errors import InputError, ShapeError

from .base import Coupling, Entries, Rows

__all__ = ["SparseCoupling"]


@value
class SparseCoupling(Coupling):
    """A plan known entry by entry, w_k at (i_k, j_k), zero elsewhere.

    A batch has the same number of entries per problem; pad with weight zero. Entries at one place add up.

    Args:
        i: (*b, k) rows.
        j: (*b, k) columns.
        w: (*b, k) masses, non-negative.
        n: Number of rows.
        m: Number of columns.

    Example:
        >>> import torch
        >>> i, j = torch.tensor([0, 1]), torch.tensor([2, 0])
        >>> SparseCoupling(i, j, torch.tensor([0.5, 0.5]), 2, 3).dense()
        tensor([[0.0000, 0.0000, 0.5000],
                [0.5000, 0.0000, 0.0000]])
    """

    i: Int[Tensor, "*b k"]
    j: Int[Tensor, "*b k"]
    w: Float[Tensor, "*b k"]
    n: int
    m: int
    _core: ClassVar[dict[str, int]] = {"i": 1, "j": 1, "w": 1}

    def __post_init__(self) -> None:
        check_floating("w", self.w)
        check_finite("w", self.w)
        if self.w.numel() and bool((self.w < 0).any()):
            raise InputError(f"A plan must be non-negative, but its smallest entry is {float(self.w.min()):g}.")
        for name, index, size in (("i", self.i, self.n), ("j", self.j, self.m)):
            check_number("nm"[name == "j"], size, low=1)
            if index.dtype != torch.long or index.shape[-1:] != self.w.shape[-1:]:
                raise ShapeError(
                    f"{name} must be int64 with one index per entry of w, shape {tuple(self.w.shape)}, "
                    f"but is {index.dtype} of shape {tuple(index.shape)}."
                )
            if index.numel() and bool(((index < 0) | (index >= size)).any()):
                raise InputError(
                    f"{name} must lie in [0, {size - 1}], but spans [{int(index.min())}, {int(index.max())}]."
                )

    def _shape(self) -> tuple[int, ...]:
        batch = torch.broadcast_shapes(self.i.shape[:-1], self.j.shape[:-1], self.w.shape[:-1])
        return (*batch, self.n, self.m)

    def _transpose(self) -> Coupling:
        return SparseCoupling._make(i=self.j, j=self.i, w=self.w, n=self.m, m=self.n)

    def _matmul(self, v: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(self._shape()[:-2], v.shape[:-2])
        i, j, w = (part.expand(*batch, -1) for part in (self.i, self.j, self.w))
        v = v.expand(*batch, *v.shape[-2:])
        moved = w[..., None] * v.gather(-2, j[..., None].expand(*j.shape, v.shape[-1]))
        return moved.new_zeros(*batch, self.n, v.shape[-1]).scatter_add(-2, i[..., None].expand(moved.shape), moved)

    def _block(self, rows: Rows) -> Tensor:
        place = torch.full((self.n,), -1, dtype=torch.long, device=self.i.device)
        wanted = torch.arange(self.n, device=self.i.device)[rows]
        unique, back = wanted.unique(return_inverse=True)
        place[unique] = torch.arange(len(unique), device=place.device)
        i, j, w = self._entries()
        local = place[i]
        flat = local.clamp_min(0) * self.m + j
        out = w.new_zeros(*w.shape[:-1], len(unique) * self.m).scatter_add(-1, flat, torch.where(local >= 0, w, 0))
        out = out.unflatten(-1, (len(unique), self.m))
        return out if isinstance(rows, slice) else out.index_select(-2, back)

    def _marginals(self) -> tuple[Tensor, Tensor]:
        i, j, w = self._entries()
        row = w.new_zeros(*w.shape[:-1], self.n).scatter_add(-1, i, w)
        return row, w.new_zeros(*w.shape[:-1], self.m).scatter_add(-1, j, w)

    def _entries(self) -> Entries:
        i, j, w = torch.broadcast_tensors(self.i, self.j, self.w)
        return i, j, w

    def _entropy(self) -> Tensor:
        # Entries at one place are one entry to the entropy: add them where the first one stands.
        i, j, w = self._entries()
        where, order = (i * self.m + j).sort(-1)
        group = torch.cat([torch.zeros_like(where[..., :1]), (where.diff(dim=-1) > 0).long()], -1).cumsum(-1)
        merged = torch.zeros_like(w).scatter_add(-1, group, w.gather(-1, order))
        present = merged > 0
        safe = torch.where(present, merged, 1)
        return torch.where(present, -safe * safe.log(), 0).sum(-1)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        i, j, w = self._entries()
        row, col = (side.expand(*w.shape[:-1], side.shape[-1]) for side in (row, col))
        return SparseCoupling._make(i=i, j=j, w=w * row.gather(-1, i) * col.gather(-1, j), n=self.n, m=self.m)
