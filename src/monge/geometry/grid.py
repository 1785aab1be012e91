"""Separable costs between the points of regular grids."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, column, working_dtype
from monge._checks import check_batches, check_number, check_same
from monge._users_arrays import take_parts
from monge._value import value
from monge.errors import InputError

from . import _stream
from ._clouds import joined
from ._separable import State, nearest, step
from .base import Geometry, Rows
from .line import Line
from .point_cloud import PointCloud
from .space import Space

__all__ = ["Grid"]


@value
class Grid(Geometry):
    r"""A cost between grids that is a sum over their axes, $C_{ij} = \sum_k C^{(k)}_{i_k j_k}$.

    It is made for images, volumes and histograms. Sums over the $m_1 \cdots m_d$ target points are computed one axis
    after the other, so that a soft minimum takes $O(N \sum_k n_k)$ operations instead of $N^2$; if epsilon is small,
    they are computed with logarithms. Points are numbered as `torch.Tensor.flatten` does: pass the weights of an image
    (*b, h, w) as ``image.flatten(-2)``.

    Args:
        axes: One entry per axis: a number of pixels (at 0, 1, 2, ...), a tensor of coordinates, or any geometry between
            the positions of that axis (a `Circle` for a periodic axis, a `Line` for two different grids).
        p: The power of $|x - y|^p$ on axes given by pixels or coordinates; 2 by default, the squared distance.

    Raises:
        InputError: If there is no axis, an axis is empty, or ``p`` is out of range or has no effect.
        DtypeError: If the axes differ in dtype or device.

    Example:
        >>> import torch
        >>> from monge.geometry import Grid
        >>> grid = Grid((2, 2))
        >>> grid.dense()
        tensor([[0., 1., 1., 2.],
                [1., 0., 2., 1.],
                [1., 2., 0., 1.],
                [2., 1., 1., 0.]])

    Source: Solomon et al., "Convolutional Wasserstein distances" (2015), for kernels applied axis by axis.
    """

    axes: tuple[Geometry, ...]
    p: float | None = None

    def __post_init__(self) -> None:
        axes = self.axes
        if isinstance(axes, (Geometry, Tensor, str)) or not isinstance(axes, Sequence) or len(axes) == 0:
            raise InputError(
                f"axes must be a tuple with one entry per axis, but is {axes!r}: pass for example (64, 64)."
            )
        if self.p is not None:
            check_number("p", self.p, low=1.0, high=1e6)
            if all(isinstance(axis, Geometry) for axis in axes):
                raise InputError(
                    f"p={self.p!r} is the power of axes given by coordinates and has no effect if all axes are "
                    f"geometries: leave it out, and give each geometry its own p."
                )
        axes = take_parts("axes", axes)
        like = next((axis for axis in axes if isinstance(axis, (Tensor, Geometry))), None)
        made = tuple(_axis(k, axis, 2.0 if self.p is None else self.p, like) for k, axis in enumerate(axes))
        named = {f"axes[{k}]": axis for k, axis in enumerate(made)}
        check_same(**named)
        check_batches(**{name: axis.batch_shape for name, axis in named.items()})
        object.__setattr__(self, "axes", made)

    @property
    def shape(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        return math.prod(self.source_shape), math.prod(self.target_shape)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """How many source positions each axis has."""
        return tuple(axis.shape[0] for axis in self.axes)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """How many target positions each axis has."""
        return tuple(axis.shape[1] for axis in self.axes)

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return broadcast_shapes(*(axis.batch_shape for axis in self.axes))

    def _may_be_negative(self) -> bool:
        return any(axis._may_be_negative() for axis in self.axes)

    def _vanishes(self) -> bool:
        return all(axis._vanishes() for axis in self.axes)

    def _transpose(self) -> Grid:
        return self._replace(axes=tuple(axis._transpose() for axis in self.axes))

    def _space(self) -> Space | None:
        lines = [axis for axis in self.axes if isinstance(axis, Line)]
        if len(lines) < len(self.axes) or len({axis.p for axis in lines}) > 1:
            return None
        p = lines[0].p
        x = self._spread([line.x[..., None] for line in lines], self.source_shape)
        y = self._spread([line.y[..., None] for line in lines], self.target_shape)
        return Space(x, y, partial(PointCloud, cost="minkowski", p=p, power=p))

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(self.shape[0]), device=self.device)
        count, total = len(self.axes), torch.zeros((), dtype=self.dtype, device=self.device)
        for k, (axis, index) in enumerate(zip(self.axes, torch.unravel_index(rows, self.source_shape), strict=True)):
            block = axis._block(index)
            total = total + block.reshape(*block.shape[:-1], *(1,) * k, block.shape[-1], *(1,) * (count - 1 - k))
        return total.flatten(-count)

    def _forbids(self) -> bool:
        return any(axis._forbids() for axis in self.axes)

    def _scalars_per_entry(self) -> int:
        return 2

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        places = zip(
            self.axes,
            torch.unravel_index(i, self.source_shape),
            torch.unravel_index(j, self.target_shape),
            strict=True,
        )
        return torch.stack(torch.broadcast_tensors(*(axis._entries(s, t) for axis, s, t in places))).sum(0)

    def _factors(self) -> tuple[Tensor, Tensor] | None:
        if all(isinstance(axis, Line) and axis.p == 2 for axis in self.axes):
            space = self._space()
            assert space is not None
            return PointCloud._make(x=space.x, y=space.y)._factors()
        factors = [pair for pair in (axis._factors() for axis in self.axes) if pair is not None]
        if len(factors) < len(self.axes):
            return None
        left, right = zip(*factors, strict=True)
        return self._spread(left, self.source_shape), self._spread(right, self.target_shape)

    def _spread(self, columns: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """Columns (*b, n_k, r_k) for the positions of each axis, side by side for all points of the grid."""
        places = torch.unravel_index(torch.arange(math.prod(shape), device=self.device), shape)
        return joined([part[..., at, :] for part, at in zip(columns, places, strict=True)], self.batch_shape)

    def _costs(self) -> list[Tensor]:
        """The costs of the axes, the last one first."""
        return [axis._wide()._block(slice(None)) for axis in reversed(self.axes)]

    def _iteration(self, state: State, epsilon: float | Tensor) -> State:
        """Sum over all axes, the last one first; each new axis is put in front, so that the order is restored."""
        for cost in self._costs():
            lines = state.map(functools.partial(torch.unflatten, dim=-1, sizes=(-1, cost.shape[-1])))
            state = step(lines, cost, epsilon).map(lambda part: part.mT.flatten(-2))
        return state

    def _start(self, col: Tensor) -> Tensor:
        dtype = working_dtype(self, col)
        batch = broadcast_shapes(self.batch_shape, col.shape[:-1])
        return col.to(dtype).expand(*batch, -1)

    def _softmin(self, g: Tensor, log_b: Tensor, epsilon: float | Tensor) -> Tensor:
        log = self._iteration(State(self._start(_stream.column_bias(g, log_b, epsilon))), epsilon).log
        empty = log == -math.inf
        return (-column(epsilon) * log.masked_fill(empty, 0)).masked_fill(empty, math.inf)

    def _apply(self, row: Tensor | None, col: Tensor, v: Tensor, epsilon: float | Tensor) -> Tensor:
        log = self._start(col)
        done = self._iteration(State(log, v.mT.to(log.dtype).expand(*log.shape[:-1], -1, -1)), epsilon)
        assert done.values is not None
        means = done.values.mT
        return means if row is None else (row + done.log).exp()[..., None] * means

    def _inner(self, row: Tensor, col: Tensor, epsilon: float | Tensor) -> Tensor:
        log = self._start(col)
        done = self._iteration(State(log, torch.zeros_like(log)[..., None, :], pays=True), epsilon)
        assert done.values is not None
        return ((row + done.log).exp() * done.values[..., 0, :]).sum(-1)

    @torch.no_grad()
    def _sinkhorn(
        self, g: Tensor, log_a: Tensor, log_b: Tensor, epsilon: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        f = self._softmin(g, log_b, epsilon)
        image = self._transpose()._softmin(f, log_a, epsilon)
        reached = _stream.column_bias(g, log_b, epsilon) - image / column(epsilon)
        return f, image, (reached.exp() - log_b.exp()).abs().sum(-1)

    def _top_k(self, g: Tensor, k: int) -> tuple[Tensor, Tensor]:
        index = self._nearest(g.detach(), k)
        n, m = self.shape
        i = torch.arange(n, device=self.device).repeat_interleave(k).expand(*index.shape[:-2], -1)
        price = g.expand(*index.shape[:-2], m).gather(-1, index.flatten(-2))
        reduced = (self._wide()._entries(i, index.flatten(-2)) - price).unflatten(-1, (n, k))
        # The sums above were rounded in another order.
        order = reduced.detach().argsort(-1)
        return reduced.gather(-1, order), index.gather(-1, order)

    def _nearest(self, g: Tensor, k: int) -> Tensor:
        """The columns of the k smallest C_ij - g_j of each row: the best of the best of each axis."""
        reduced = -self._start(g)[..., None, :]
        index = torch.arange(reduced.shape[-1], device=g.device).expand(reduced.shape)
        for cost in self._costs():
            m = cost.shape[-1]
            reduced, where = nearest(reduced.unflatten(-1, (-1, m)), cost.detach(), k)
            # Candidates and targets of the axis stand together, last, while the best of them are chosen.
            index = index.unflatten(-1, (-1, m)).movedim(-3, -2).flatten(-2)
            index = index.expand(*where.shape[:-3], *index.shape[-2:])
            index = index.gather(-1, where.movedim(-3, -1).flatten(-2)).unflatten(-1, (-1, where.shape[-3]))
            index = index.movedim(-1, -3).mT.flatten(-2)
            reduced = reduced.mT.flatten(-2)
        return index.mT

    def _mean(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if any(bool((cost.detach() == math.inf).any()) for cost in self._costs()):
            return _stream.mean(self, a, b)
        total = torch.zeros((), dtype=a.dtype, device=a.device)
        for k, axis in enumerate(self.axes):
            total = total + axis._mean(_marginal(a, self.source_shape, k), _marginal(b, self.target_shape, k))[0]
        return total, a.sum(-1) * b.sum(-1)


def _axis(k: int, axis: Any, p: float, like: Tensor | Geometry | None) -> Geometry:
    if isinstance(axis, Geometry):
        return axis
    if isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1:
        dtype = torch.get_default_dtype() if like is None else like.dtype
        axis = torch.arange(axis, dtype=dtype, device=None if like is None else like.device)
    if not isinstance(axis, Tensor) or axis.ndim == 0:
        raise InputError(
            f"axes[{k}] must be a positive number of pixels, a tensor of coordinates or a geometry, but is {axis!r}: "
            f"pass for example 64 or torch.linspace(0, 1, 64)."
        )
    return Line(axis, axis, p)


def _marginal(weights: Tensor, shape: tuple[int, ...], k: int) -> Tensor:
    others = [axis - len(shape) for axis in range(len(shape)) if axis != k]
    weights = weights.unflatten(-1, shape)
    return weights.sum(others) if others else weights
