"""A plan by its potentials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_choice, check_finite, check_floating, check_same
from monge._value import value
from monge.errors import ShapeError

from ._questions import recompute, row_slices
from .base import Coupling, Rows

if TYPE_CHECKING:
    from monge.geometry import Geometry

__all__ = ["PotentialCoupling"]


@value
class PotentialCoupling(Coupling):
    r"""$P_{ij} = a_i b_j\,\mathrm{link}((f_i + g_j - C_{ij}) / \epsilon)$, never built: cost and potentials are enough.

    The link is exp (entropic transport, softmax attention) or the positive part (quadratic regularisation). Applying it
    streams the cost block by block; the exponential link runs on the fused kernels. A point of weight zero is absent,
    whatever its potential.

    Args:
        geometry: The cost.
        f: (*b, n) row potentials.
        g: (*b, m) column potentials.
        a: (*b, n) row weights.
        b: (*b, m) column weights.
        epsilon: Temperature, a number or one per problem.
        link: ``"exp"`` or ``"quadratic"``.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])
        >>> a = torch.tensor([0.5, 0.5])
        >>> P = PotentialCoupling(PointCloud(x, y), torch.zeros(2), torch.zeros(2), a, a, torch.tensor(1.0))
        >>> P.dense()
        tensor([[0.2500, 0.0920],
                [0.0920, 0.2500]])
    """

    geometry: Geometry
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    a: Float[Tensor, "*b n"]
    b: Float[Tensor, "*b m"]
    epsilon: Float[Tensor, "*b"]
    link: str = "exp"
    _core: ClassVar[dict[str, int]] = {"f": 1, "g": 1, "a": 1, "b": 1, "epsilon": 0}

    def __post_init__(self) -> None:
        check_choice("link", self.link, ("exp", "quadratic"))
        if not isinstance(self.epsilon, Tensor):
            object.__setattr__(self, "epsilon", self.f.new_tensor(self.epsilon))
        check_same(f=self.f, g=self.g, a=self.a, b=self.b)
        n, m = self.geometry.shape
        for name, held, size in (("f", self.f, n), ("g", self.g, m), ("a", self.a, n), ("b", self.b, m)):
            check_floating(name, held)
            if held.shape[-1:] != (size,):
                raise ShapeError(f"{name} must have shape (*batch, {size}), but has {tuple(held.shape)}.")
            check_finite(name, torch.nan_to_num(held, nan=math.nan, posinf=0.0, neginf=0.0))

    def _shape(self) -> tuple[int, ...]:
        leading = (held.shape[:-1] for held in (self.f, self.g, self.a, self.b))
        batch = torch.broadcast_shapes(self.geometry.batch_shape, self.epsilon.shape, *leading)
        return (*batch, *self.geometry.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the potentials."""
        return self.f.dtype

    def _logs(self) -> tuple[Tensor, Tensor]:
        """Log weight + potential / epsilon of rows and columns; -inf where a point is absent."""
        epsilon = self.epsilon[..., None]

        def log(weights: Tensor, potential: Tensor) -> Tensor:
            absent = weights <= 0
            score = torch.where(absent, 1, weights).log() + torch.where(absent, 0, potential) / epsilon
            return score.masked_fill(absent, -math.inf)

        return log(self.a, self.f), log(self.b, self.g)

    def _transpose(self) -> Coupling:
        return PotentialCoupling._make(
            geometry=self.geometry._transpose(),
            f=self.g,
            g=self.f,
            a=self.b,
            b=self.a,
            epsilon=self.epsilon,
            link=self.link,
        )

    def _matmul(self, v: Tensor) -> Tensor:
        if self.link == "exp":
            row, col = self._logs()
            return self.geometry._apply(row, col, v, self.epsilon)
        return torch.cat([recompute(lambda rows: self._block(rows) @ v, rows) for rows in row_slices(self)], -2)

    def _average(self, v: Tensor) -> Tensor:
        if self.link != "exp":
            return super()._average(v)
        mean = self.geometry._apply(None, self._logs()[1], v, self.epsilon)
        return torch.where(self.a[..., None] > 0, mean, 0)

    def _block(self, rows: Rows) -> Tensor:
        cost = self.geometry._block(rows).to(self.dtype)
        forbidden = cost == math.inf
        cost = cost.masked_fill(forbidden, 0)
        epsilon = self.epsilon[..., None, None]
        if self.link == "exp":
            row, col = self._logs()
            score = row[..., rows, None] + col[..., None, :] - cost / epsilon
            return score.masked_fill(forbidden, -math.inf).exp()
        absent = [(weights <= 0) for weights in (self.a, self.b)]
        f, g = self.f.masked_fill(absent[0], 0), self.g.masked_fill(absent[1], 0)
        height = ((f[..., rows, None] + g[..., None, :] - cost) / epsilon).clamp_min(0).masked_fill(forbidden, 0)
        return self.a[..., rows, None] * self.b[..., None, :] * height

    def _marginals(self) -> tuple[Tensor, Tensor]:
        if self.link != "exp":
            return super()._marginals()
        # From one soft transform a side: exact where the mass of a row is far below what `apply` resolves.
        geometry, epsilon = self.geometry, self.epsilon[..., None]

        def side(cost: Geometry, weights: Tensor, mine: Tensor, other: Tensor, other_weights: Tensor) -> Tensor:
            absent = weights <= 0
            log = torch.where(other_weights <= 0, 1, other_weights).log()
            log = log.masked_fill(other_weights <= 0, -math.inf)
            reach = cost._softmin(other.masked_fill(other_weights <= 0, 0), log, self.epsilon)
            none = reach == math.inf
            gap = (mine.masked_fill(absent, 0) - reach.masked_fill(none, 0)) / epsilon
            return torch.where(absent | none, 0, weights * gap.masked_fill(absent | none, 0).exp())

        row = side(geometry, self.a, self.f, self.g, self.b)
        return row, side(geometry._transpose(), self.b, self.g, self.f, self.a)

    def _inner(self, geometry: Geometry) -> Tensor:
        if geometry is not self.geometry or self.link != "exp":
            return super()._inner(geometry)
        row, col = self._logs()
        return geometry._inner(row, col, self.epsilon)

    def _entropy(self) -> Tensor:
        if self.link != "exp":
            return super()._entropy()
        row, col = self._logs()
        mass_row, mass_col = self._marginals()

        def weighted(mass: Tensor, log: Tensor) -> Tensor:
            return (mass * torch.where(mass > 0, log, 0)).sum(-1)

        cost = self.geometry._inner(row, col, self.epsilon)
        return cost / self.epsilon - weighted(mass_row, row) - weighted(mass_col, col)

    def _top_k(self, k: int) -> tuple[Int[Tensor, "*b n k"], Float[Tensor, "*b n k"]]:
        if self.link != "exp":
            return super()._top_k(k)
        row, col = self._logs()
        reduced, j = self.geometry._top_k(col * self.epsilon[..., None], k)
        absent = (reduced == math.inf) | (row == -math.inf)[..., None]
        score = torch.where(row == -math.inf, 0, row)[..., None]
        score = score - torch.where(absent, 0, reduced) / self.epsilon[..., None, None]
        return j, torch.where(absent, 0, score.exp())

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return PotentialCoupling._make(
            geometry=self.geometry,
            f=self.f,
            g=self.g,
            a=self.a * row,
            b=self.b * col,
            epsilon=self.epsilon,
            link=self.link,
        )

    def _own_geometry(self) -> Geometry:
        return self.geometry
