"""Plans that are stored as a list of entries."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at, broadcast_shapes, working_dtype
from monge._checks import check_batches, check_count, check_device, check_floating
from monge._value import value
from monge.errors import ShapeError
from monge.geometry import Geometry

from . import _validate
from ._numbers import fraction, minus_x_log_x
from ._scatter import scatter_matmul
from ._stream import weighted
from .base import Coupling, Entries, Rows

__all__ = ["SparseCoupling"]


@value
class SparseCoupling(Coupling):
    """A plan given by its entries (i, j, w). Entries at the same place are added.

    Every problem of a batch has the same number of entries; entries of weight zero are padding.

    Args:
        i: Source points.
        j: Target points.
        w: Masses.
        n: How many source points there are.
        m: How many target points there are.

    Raises:
        InputError: If an index is out of range or a mass is negative.
        ShapeError, DtypeError, DeviceError: If the lists do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import SparseCoupling
        >>> SparseCoupling(torch.tensor([0, 1]), torch.tensor([2, 0]), torch.tensor([0.5, 0.5]), 2, 3).dense()
        tensor([[0.0000, 0.0000, 0.5000],
                [0.5000, 0.0000, 0.0000]])
    """

    i: Int[Tensor, "*b k"]
    j: Int[Tensor, "*b k"]
    w: Float[Tensor, "*b k"]
    n: int
    m: int
    _sides = (("i", "j"), ("n", "m"))
    _tells_mass = True

    def __post_init__(self) -> None:
        check_count("n", self.n)
        check_count("m", self.m)
        check_floating("w", self.w)
        for name, index, size in (("i", self.i, self.n), ("j", self.j, self.m)):
            _validate.indices(name, index, size)
            if index.ndim < 1 or self.w.ndim < 1 or index.shape[-1] != self.w.shape[-1]:
                raise ShapeError(
                    f"i, j and w must list the same entries, but have shapes {tuple(self.i.shape)}, "
                    f"{tuple(self.j.shape)} and {tuple(self.w.shape)}: give each entry one row, column and mass."
                )
            check_device(**{name: index, "w": self.w})
            object.__setattr__(self, name, index.long())
        _validate.masses(w=self.w)
        check_batches(**self._batches())

    def _shape(self) -> tuple[int, ...]:
        return (*self._leading(), self.n, self.m)

    def _lists(self, *batch: int) -> Entries:
        """The three lists with all batch dimensions."""
        batch = batch or tuple(self._leading())
        i, j, w = (part.expand(*batch, part.shape[-1]) for part in (self.i, self.j, self.w))
        return i, j, w

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        own = self._shape()[:-2]
        if not own:
            # One plan, many problems: their values are further columns.
            folded = v.movedim(-2, 0)
            return self._product(folded.reshape(self.m, -1)).reshape(self.n, *folded.shape[1:]).movedim(0, -2)
        batch = broadcast_shapes(own, v.shape[:-2])
        out = self._product(v.expand(*batch, *v.shape[-2:]).reshape(-1, v.shape[-1]), *batch)
        return out.reshape(*batch, self.n, v.shape[-1])

    def _product(self, v: Float[Tensor, "bm k"], *batch: int) -> Float[Tensor, "bn k"]:
        """A batch of problems is one problem, with as many rows and columns side by side."""
        i, j, w = self._lists(*batch)
        count, wide = math.prod(batch), working_dtype(v)
        place = torch.arange(count, device=i.device)[:, None]
        flat = (count, w.shape[-1])
        i, j = (i.reshape(flat) + place * self.n).reshape(-1), (j.reshape(flat) + place * self.m).reshape(-1)
        return scatter_matmul(i, j, w.reshape(-1).to(wide), v.to(wide), count * self.n).to(v.dtype)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        batch, inverse = self._shape()[:-2], None
        if isinstance(rows, Tensor):
            rows, inverse = rows.unique(return_inverse=True)
        kept = torch.arange(self.n, device=self.i.device)[rows]
        # Entries of other rows go to one more row, which is dropped.
        place = torch.full((self.n,), len(kept), device=self.i.device)
        place[kept] = torch.arange(len(kept), device=self.i.device)
        i, j, w = self._lists()
        flat = w.new_zeros(*batch, (len(kept) + 1) * self.m, dtype=working_dtype(w))
        flat = flat.scatter_add(-1, place[i] * self.m + j, w.to(flat.dtype)).to(w.dtype)
        block = flat.reshape(*batch, len(kept) + 1, self.m)[..., :-1, :]
        return block if inverse is None else block[..., inverse, :]

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        i, w = torch.broadcast_tensors(self.i, self.w)
        out = w.new_zeros(*w.shape[:-1], self.n, dtype=working_dtype(w))
        return out.scatter_add(-1, i, w.to(out.dtype)).to(w.dtype)

    def _told(self) -> tuple[str, ...]:
        return (f"entries={self.w.shape[-1]}",)

    def _entries(self) -> Entries:
        return self._lists()

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        return weighted(self.w, geometry._entries(self.i, self.j)).sum(-1)

    def _sorted(self) -> tuple[Tensor, Tensor, Tensor]:
        """The entries in row-major order, equal ones merged: the first holds all, the others nothing."""
        i, j, w = self._lists()
        key, order = (i * self.m + j).sort(dim=-1, stable=True)
        w = w.gather(-1, order)
        first = torch.ones_like(key, dtype=torch.bool)
        first[..., 1:] = key[..., 1:] != key[..., :-1]
        group = first.long().cumsum(-1) - 1
        total = torch.zeros_like(w, dtype=working_dtype(w)).scatter_add(-1, group, w.to(working_dtype(w)))
        merged = total.gather(-1, group).masked_fill(~first, 0).to(w.dtype)
        return key // self.m, key % self.m, merged

    def _entropy(self) -> Float[Tensor, "*b"]:
        w = self._sorted()[2]
        return minus_x_log_x(w.to(working_dtype(w))).sum(-1)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        row, col, w = self._sorted()
        batch = broadcast_shapes(w.shape[:-1], i.shape[:-1], j.shape[:-1])
        key = (row * self.m + col).expand(*batch, -1).contiguous()
        wanted = (i * self.m + j).expand(*batch, -1).contiguous()
        # The first of equal keys is the one that holds the merged mass.
        where = torch.searchsorted(key, wanted).clamp_max(key.shape[-1] - 1)
        return at(w, where) * (key.gather(-1, where) == wanted)

    def _sample_rows(self, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
        row, col, w = self._sorted()
        # Every row has mass one, and its entries are neighbours: it is an interval of the cumulative mass.
        w = fraction(w.double(), at(self._row_sums().double(), row))
        below = torch.cat([torch.zeros_like(w[..., :1]), w.cumsum(-1)], -1)
        row, i = row.contiguous(), i.contiguous()
        start, stop = (at(below, torch.searchsorted(row, i, right=right)) for right in (False, True))
        level = torch.minimum(start + u * (stop - start), torch.nextafter(stop, torch.zeros_like(stop)))
        return at(col, torch.searchsorted(below[..., 1:].contiguous(), level.contiguous(), right=True))

    def _top_k(self, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
        row, col, w = self._sorted()
        batch = w.shape[:-1]
        # Rows stay together and their entries fall in weight: the rank of an entry is its distance from the start.
        order = w.detach().argsort(dim=-1, descending=True, stable=True)
        order = order.gather(-1, row.gather(-1, order).argsort(dim=-1, stable=True))
        row, col, w = row.gather(-1, order), col.gather(-1, order), w.gather(-1, order)
        points = torch.arange(self.n, device=row.device).expand(*batch, self.n).contiguous()
        start = torch.searchsorted(row.contiguous(), points)
        rank = torch.arange(row.shape[-1], device=row.device) - start.gather(-1, row)
        slot = torch.where(rank < k, row * k + rank, self.n * k)
        weights = w.new_zeros(*batch, self.n * k + 1).scatter(-1, slot, w)[..., :-1]
        columns = col.new_zeros(*batch, self.n * k + 1).scatter(-1, slot, col)[..., :-1]
        return weights.reshape(*batch, self.n, k), columns.reshape(*batch, self.n, k)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> SparseCoupling:
        return self._make(i=self.i, j=self.j, w=self.w * at(row, self.i) * at(col, self.j), n=self.n, m=self.m)
