"""Plans that are stored as potentials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge import kernels
from monge._arrays import at, column, log_small, working_dtype
from monge._checks import check_batches, check_choice, check_number, check_same, check_vector, check_weights
from monge._value import value
from monge.errors import InputError
from monge.geometry import Geometry

from . import _stream
from .base import Coupling, Rows

__all__ = ["PotentialCoupling"]

LINKS = ("exp", "quadratic")
Choice = Callable[[Tensor], Tensor]


@value
class PotentialCoupling(Coupling):
    r"""The plan $P_{ij} = a_i b_j\,\varphi((f_i + g_j - C_{ij}) / \epsilon)$, with n + m numbers in memory.

    The link $\varphi$ is the exponential for entropic plans (Sinkhorn, unbalanced, partial, softmax) and
    $[\cdot]_+$ for plans with a quadratic penalty, which are sparse. Entries are computed block by block when
    they are needed, and computed again in a backward pass. Where a weight is zero or a potential is infinite, there is
    no mass and no gradient.

    Args:
        geometry: The costs; +inf forbids a pair.
        f: Potential of the source points.
        g: Potential of the target points.
        a: Reference weights of the source points.
        b: Reference weights of the target points.
        epsilon: Strength of the penalty, in units of the cost; a number, or one per problem.
        link: "exp" or "quadratic".

    Raises:
        InputError: If the link is unknown, epsilon is not positive, or a weight is negative.
        ShapeError, DtypeError, DeviceError: If the arguments do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import PotentialCoupling
        >>> from monge.geometry import PointCloud
        >>> x, zero, half = torch.tensor([[0.0], [1.0]]), torch.zeros(2), torch.tensor([0.5, 0.5])
        >>> PotentialCoupling(PointCloud(x, x), zero, zero, half, half, epsilon=1.0).dense()
        tensor([[0.2500, 0.0920],
                [0.0920, 0.2500]])
    """

    geometry: Geometry = field()
    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    a: Float[Tensor, "*b n"]
    b: Float[Tensor, "*b m"]
    epsilon: float | Float[Tensor, "*b"]
    link: str = "exp"
    _sides = (("f", "g"), ("a", "b"))

    def __post_init__(self) -> None:
        check_choice("link", self.link, LINKS)
        n, m = self.geometry.shape
        for name, potential, size in (("f", self.f, n), ("g", self.g, m)):
            check_vector(name, potential, size, "number per point of its side of the cost")
            if bool(torch.isnan(potential.detach()).any()):
                raise InputError(
                    f"{name} must not hold NaN, but does: use the potentials of a solver that has converged."
                )
        check_weights("a", self.a, n)
        check_weights("b", self.b, m)
        check_same(f=self.f, g=self.g, a=self.a, b=self.b)
        if isinstance(self.epsilon, Tensor):
            if not bool((self.epsilon.detach() > 0).all()):
                raise InputError(f"epsilon must be positive, but its smallest value is {float(self.epsilon.min()):g}.")
        else:
            check_number("epsilon", self.epsilon, low=0.0, strict=True)
        check_batches(**self._batches())

    def _batches(self) -> dict[str, torch.Size]:
        return {"geometry": self.geometry.batch_shape, **super()._batches()}

    def _told(self) -> tuple[str, ...]:
        return (f"link={self.link!r}", type(self.geometry).__name__)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the costs."""
        return self.geometry.dtype

    def _biases(self) -> tuple[Tensor, Tensor]:
        """F / epsilon + log a and g / epsilon + log b, -inf where there is no mass."""
        return self._bias(self.f, self.a), self._bias(self.g, self.b)

    def _bias(self, potential: Tensor, weights: Tensor) -> Tensor:
        potential, weights, absent = _cleared(potential, weights, 1)
        return (log_small(weights) + potential / column(self.epsilon)).masked_fill(absent, -math.inf)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        if self.link == "quadratic":
            return _stream.matmul(self, v)
        row, col = self._biases()
        return self.geometry._apply(row, col, v, self.epsilon)

    def _average(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        if self.link == "quadratic":
            return super()._average(v)
        row, col = self._biases()
        # The factor of a row cancels: only whether it is there matters.
        return self.geometry._apply(None, col, v, self.epsilon).masked_fill((row == -math.inf)[..., None], 0)

    def _scalars_per_entry(self) -> int:
        return 2 + self.geometry._scalars_per_entry()

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        block = self._linked(
            self.geometry._wide()._block(rows), lambda part: part[..., rows, None], lambda part: part[..., None, :], 2
        )
        return block.expand(*self._shape()[:-2], *block.shape[-2:])

    def _linked(self, cost: Tensor, row: Choice, col: Choice, trailing: int) -> Tensor:
        """The plan at chosen pairs: their cost, how rows and columns are chosen, and how many dimensions that gives."""
        forbidden, epsilon = cost == math.inf, column(self.epsilon, trailing)
        cost = cost.to(working_dtype(cost, self.f)).masked_fill(forbidden, 0)
        if self.link == "exp":
            source, target = self._biases()
            score = row(source) + col(target) - cost / epsilon
            return score.masked_fill(forbidden, -math.inf).exp().to(self.dtype)
        (f, a, _), (g, b, _) = _cleared(self.f, self.a, 0), _cleared(self.g, self.b, 0)
        room = (row(f) + col(g) - cost).clamp_min(0).masked_fill(forbidden, 0)
        return (row(a) * col(b) * room / epsilon).to(self.dtype)

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        if self.link == "exp" and geometry is self.geometry:
            row, col = self._biases()
            return geometry._inner(row, col, self.epsilon)
        return super()._inner(geometry)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return self._linked(self.geometry._wide()._entries(i, j), partial(at, index=i), partial(at, index=j), 1)

    def _top_k(self, k: int) -> tuple[Float[Tensor, "*b n k"], Int[Tensor, "*b n k"]]:
        if self.link == "quadratic":
            return super()._top_k(k)
        row, col = self._biases()
        # In a row the largest entries are the smallest reduced costs C_ij - (g_j + epsilon log b_j).
        absent = col == -math.inf
        price = (col.masked_fill(absent, 0) * column(self.epsilon)).masked_fill(absent, -math.inf)
        least, index = self.geometry._top_k(price, k)
        gone = least == math.inf
        score = row[..., None] - least.masked_fill(gone, 0) / column(self.epsilon, 2)
        return score.masked_fill(gone, -math.inf).exp().to(self.dtype), index.clamp_min(0)

    def _extract(self, threshold: float) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
        pairs = self.geometry._pairs()
        if self.link == "quadratic" or pairs is None:
            return super()._extract(threshold)
        with torch.no_grad():
            row, col = self._biases()
            i, j, _ = kernels.extract(pairs, row, col, self.epsilon, threshold)
        return i, j

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> PotentialCoupling:
        return self._replace(a=self.a * row, b=self.b * col)


def _cleared(potential: Tensor, weights: Tensor, absence: float) -> tuple[Tensor, Tensor, Tensor]:
    """Potentials and weights without those of absent points, which have no gradient, and where these are."""
    absent = (weights == 0) | potential.isinf()
    return potential.masked_fill(absent, 0), weights.masked_fill(absent, absence), absent
