"""What a cost tile is: every kernel reads its costs from a ``Pairs``, block by block."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, is_mapped, power, rows_per_block, working_dtype
from monge._checks import check_batches, check_floating, check_same
from monge.errors import InputError, ShapeError

from ._squares import squares
from .blocks import stream

__all__ = ["Matrix", "Pairs", "Points"]

# Up to this dimension differences are formed directly: it is as fast as a product, and exact.
_DIRECT_DIMENSION = 8

Rows = slice | Tensor
# What streaming needs: tensors cut by rows, tensors seen whole, the block they give, scalars held per entry.
Parts = tuple[list[Tensor], list[Tensor], Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor], int]


class _Costs(ABC):
    """What stored costs and those of points have in common."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that gradients may flow to."""

    @property
    def batch_shape(self) -> torch.Size:
        """The common leading dimensions."""
        return broadcast_shapes(*[t.shape[:-2] for t in self.tensors()])

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the points, or of the costs."""
        return self.tensors()[0].dtype

    @property
    def device(self) -> torch.device:
        """Where they live."""
        return self.tensors()[0].device


@dataclass(frozen=True, eq=False)
class Points(_Costs):
    """Costs between two point clouds, never stored.

    ``kind="norm"``: C_ij = (sum_k |x_ik - y_jk|^p)^(power / p), so (p, power) = (2, 2) is the squared
    Euclidean distance without a factor one half, (2, 1) the Euclidean distance, (1, 1) city block, (inf, 1)
    Chebyshev. ``kind="dot"``: C_ij = -<x_i, y_j>. Where two points coincide the gradient of a norm is taken
    to be zero.

    Args:
        x: Points of the rows; leading dimensions are batch dimensions and broadcast with those of ``y``.
        y: Points of the columns.
        kind: "norm" or "dot".
        p: The order of the norm, at least one; infinity is allowed.
        power: The power of the norm, positive.

    Raises:
        ShapeError, DtypeError, DeviceError: If the clouds do not fit together.
        InputError: If kind, p or power are outside their range.
    """

    x: Float[Tensor, "*#b n d"]
    y: Float[Tensor, "*#b m d"]
    kind: Literal["norm", "dot"] = "norm"
    p: float = 2
    power: float = 2

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-1]:
            raise ShapeError(
                f"x and y must be point clouds (..., n, d) and (..., m, d) of one dimension d, but have "
                f"shapes {tuple(x.shape)} and {tuple(y.shape)}; write points as rows, for numbers x[:, None]."
            )
        check_floating("x", x)
        if x.dtype != y.dtype or x.device != y.device:  # asked in every iteration
            check_same(x=x, y=y)
        check_batches(x=x.shape[:-2], y=y.shape[:-2])
        if self.kind not in ("norm", "dot"):
            raise InputError(f'kind must be "norm" or "dot", but it is {self.kind!r}.')
        if self.kind == "norm" and not (self.p >= 1 and 0 < self.power < math.inf):
            raise InputError(
                f"p must be at least 1 and power positive and finite, but p = {self.p} and power = "
                f"{self.power}; the squared Euclidean distance is p=2, power=2."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the cost matrix that is never built."""
        return self.x.shape[-2], self.y.shape[-2]

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that gradients may flow to."""
        return self.x, self.y

    def transpose(self) -> Points:
        """The same costs with the roles of rows and columns exchanged."""
        return Points(self.y, self.x, self.kind, self.p, self.power)

    def rows(self, index: Rows) -> Points:
        """The pairs of a subset of the rows."""
        return Points(_take(self.x, index), self.y, self.kind, self.p, self.power)

    def block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """The costs of some rows, in a dense block, in the dtype of the points."""
        left, right, evaluate, _ = self.rows(rows).parts(self.dtype)
        return evaluate(left, right).to(self.dtype)

    def gather(self, columns: Int[Tensor, "*b n k"]) -> Float[Tensor, "*b n k"]:
        """The costs C[i, columns[i, l]] of k chosen columns for each row."""
        compute = working_dtype(self.dtype)
        batch = broadcast_shapes(self.batch_shape, columns.shape[:-2])
        x = self.x.to(compute).expand(*batch, *self.x.shape[-2:])
        y = self.y.to(compute).expand(*batch, *self.y.shape[-2:])
        columns = columns.expand(*batch, *columns.shape[-2:])
        k, d = columns.shape[-1], x.shape[-1]

        def body(rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Sequence[Tensor]:
            x, columns = rows
            index = columns.reshape(*batch, -1, 1).expand(*batch, -1, d)
            partner = shared[0].gather(-2, index).reshape(*columns.shape, d)
            return (self._reduce(x[..., :, None, :], partner),)

        step = rows_per_block(math.prod(batch) * k * d * compute.itemsize)
        return stream(body, [x, columns], [y], step=step)[0].to(self.dtype)

    def at(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The costs of a list of entries (i, j) of one problem, without batch dimensions."""
        return self.rows(i).gather(j[:, None])[:, 0]

    def parts(self, compute: torch.dtype, epsilon: Tensor | None = None) -> Parts:
        """How to stream these costs: rows, shared tensors, the function of a block, scalars held per entry.

        Products |x|^2 - 2 <x, y> + |y|^2 are taken in float64 between centred clouds. Without an epsilon the costs
        themselves are the answer, and pairs that lose digits are computed again, see `squares`. Beside an epsilon only
        the absolute error counts: for float32 points it is rounding, for float64 points it is compared with epsilon,
        and differences are formed directly if it would be seen.
        """
        d = self.x.shape[-1]
        if self.kind == "dot":
            return [self.x.to(compute)], [self.y.to(compute)], lambda r, s: -(r[0] @ s[0].mT), 1
        if self.expands:
            x, y = self._centred()
            if epsilon is None and not is_mapped():
                given = self.x.double(), self.y.double()
                return [x, given[0]], [y, given[1]], lambda r, s: self._square(r, s).to(compute), 4
            if compute != torch.float64 or (epsilon is not None and _resolves(x, y, self.power, epsilon)):
                return [x], [y], lambda r, s: self._expand(r[0], s[0]).to(compute), 2
        x, y = self.x.to(compute), self.y.to(compute)
        return [x], [y], lambda r, s: self._reduce(r[0][..., :, None, :], s[0][..., None, :, :]), d

    @property
    def expands(self) -> bool:
        """Whether products of matrices are faster than differences."""
        return self.kind == "norm" and self.p == 2 and self.x.shape[-1] > _DIRECT_DIMENSION

    def _centred(self) -> tuple[Tensor, Tensor]:
        """Both clouds in float64, around the middle of their means."""
        x, y = self.x.double(), self.y.double()
        centre = (x.detach().mean(-2, keepdim=True) + y.detach().mean(-2, keepdim=True)) / 2
        return x - centre, y - centre

    def dense(self) -> Float[Tensor, "*b n m"]:
        """All costs, in the dtype of the points; beside them only blocks of rows are held."""
        left, right, evaluate, width = self.parts(self.dtype)
        step = rows_per_block(math.prod(self.batch_shape) * self.shape[1] * width * 8)
        rows = zip(*(points.split(step, -2) for points in left), strict=True)
        blocks = [evaluate(some, right).to(self.dtype) for some in rows]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, -2)

    def _square(self, left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
        return power(squares((left[0], right[0]), (left[1], right[1]), self.dtype), self.power / 2)

    def _expand(self, x: Tensor, y: Tensor) -> Tensor:
        square = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :] - 2 * (x @ y.mT)
        return power(square.clamp_min(0), self.power / 2)

    def _reduce(self, x: Tensor, y: Tensor) -> Tensor:
        """The cost between the vectors in the last dimension, from their differences."""
        if self.kind == "dot":
            return -(x * y).sum(-1)
        difference = x - y
        if self.p == math.inf:
            return power(difference.abs().amax(-1), self.power) if x.shape[-1] else difference.sum(-1)
        if self.p == 2:
            return power((difference * difference).sum(-1), self.power / 2)
        return power(power(difference.abs(), self.p).sum(-1), self.power / self.p)


@dataclass(frozen=True, eq=False)
class Matrix(_Costs):
    """Costs that are stored.

    Args:
        cost: C_ij; +inf marks a forbidden pair. Leading dimensions are batch dimensions.

    Raises:
        ShapeError: If the cost has fewer than two dimensions.
    """

    cost: Float[Tensor, "*b n m"]

    def __post_init__(self) -> None:
        if self.cost.ndim < 2:
            raise ShapeError(f"cost must be a matrix (..., n, m), but its shape is {tuple(self.cost.shape)}.")
        check_floating("cost", self.cost)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.cost.shape[-2], self.cost.shape[-1]

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that gradients may flow to."""
        return (self.cost,)

    def transpose(self) -> Matrix:
        """The same costs with the roles of rows and columns exchanged."""
        return Matrix(self.cost.mT)

    def rows(self, index: Rows) -> Matrix:
        """The pairs of a subset of the rows."""
        return Matrix(_take(self.cost, index))

    def block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """The costs of some rows."""
        return _take(self.cost, rows)

    def gather(self, columns: Int[Tensor, "*b n k"]) -> Float[Tensor, "*b n k"]:
        """The costs C[i, columns[i, l]] of k chosen columns for each row."""
        batch = broadcast_shapes(self.batch_shape, columns.shape[:-2])
        return self.cost.expand(*batch, *self.shape).gather(-1, columns.expand(*batch, *columns.shape[-2:]))

    def at(self, i: Int[Tensor, " k"], j: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The costs of a list of entries (i, j) of one problem, without batch dimensions."""
        return self.cost[i, j]

    def parts(self, compute: torch.dtype, epsilon: Tensor | None = None) -> Parts:
        """How to stream these costs, as `Points.parts` does."""
        return [self.cost], [], lambda r, s: r[0].to(compute), 1


Pairs = Points | Matrix


def _take(tensor: Tensor, index: Rows) -> Tensor:
    return tensor[..., index, :] if isinstance(index, slice) else tensor.index_select(-2, index)


def _resolves(x: Tensor, y: Tensor, power: float, epsilon: Tensor) -> bool:
    """Whether the cancellation error of the expanded square stays a millionth of epsilon."""
    if x.numel() == 0 or y.numel() == 0:
        return True
    radius = max(float((x.detach() ** 2).sum(-1).max()), float((y.detach() ** 2).sum(-1).max()))
    # The error of the square is u R^2; a root magnifies it to at most its own root.
    error = (torch.finfo(x.dtype).eps * radius) ** min(1.0, power / 2) * max(1.0, radius ** (power / 2 - 1))
    return error <= 1e-6 * float(epsilon.detach().min())
