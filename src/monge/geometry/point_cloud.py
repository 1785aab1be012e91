"""Costs between two point clouds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_clouds, check_finite, check_number
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.kernels import Points

from ._clouds import Clouds
from ._range import check_distances, check_products
from .base import Rows
from .space import Space

__all__ = ["PointCloud", "check_directions", "direction"]

# Each norm with its order and the power that its name implies.
_NORMS = {
    "sqeuclidean": (2.0, 2.0),
    "euclidean": (2.0, 1.0),
    "cityblock": (1.0, 1.0),
    "chebyshev": (math.inf, 1.0),
    "minkowski": (None, 1.0),
}
_COSTS = (*_NORMS, "cosine", "dot")

Cost = Callable[[Tensor, Tensor], Tensor]


@value
class PointCloud(Clouds):
    r"""Costs between the points of two clouds, computed block by block and never stored.

    The names are those of `scipy.spatial.distance`:

    ================  ==========================================
    ``sqeuclidean``   $\lVert x - y\rVert_2^2$ (no factor one half)
    ``euclidean``     $\lVert x - y\rVert_2$
    ``cityblock``     $\lVert x - y\rVert_1$
    ``chebyshev``     $\lVert x - y\rVert_\infty$
    ``minkowski``     $\lVert x - y\rVert_p$
    ``cosine``        $1 - \cos(x, y)$
    ``dot``           $-\langle x, y\rangle$
    ================  ==========================================

    A norm may be raised to a ``power``: ``cost="euclidean", power=1.5`` is $\lVert x-y\rVert_2^{1.5}$. Where
    two points are equal, its gradient is defined as zero.

    The cost may also be a function. It receives points of shape ``(*b, k, 1, d)`` and ``(*b, 1, m, d)``, and returns
    costs ``(*b, k, m)``. It is called block by block, and its own parameters receive gradients.

    Args:
        x: Source points.
        y: Target points.
        cost: A name from the table, or a function.
        p: The order of the ``minkowski`` norm, at least one.
        power: The power of a norm; by default the one in the table.

    Raises:
        ShapeError, DtypeError, DeviceError: If the clouds do not fit together.
        InputError: If a coordinate is not finite, a name is unknown, ``p`` or ``power`` is out of range or
            has no effect for this cost, or a zero vector has no direction for ``cosine``.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> geometry = PointCloud(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> geometry.dense()
        tensor([[25.,  1.]])
    """

    x: Float[Tensor, "*b n d"]
    y: Float[Tensor, "*b m d"]
    cost: str | Cost = "sqeuclidean"
    p: float = 2.0
    power: float | None = None
    _sides = (("x", "y"),)

    def __post_init__(self) -> None:
        check_clouds(self.x, self.y)
        _check_cost(self.cost, self.p, self.power)
        if self.cost == "dot":
            check_products(self.x, self.y)
        elif self._is_norm:
            points = self._points()
            check_distances(self.x, self.y, points.p, points.power)
        elif self.cost == "cosine":
            check_directions("cost='cosine'", x=self.x, y=self.y)
        elif callable(self.cost):
            answer = self.cost(self.x[..., :1, None, :], self.y[..., None, :, :])
            _check_answer(answer, (*self.batch_shape, 1, self.y.shape[-2]))

    @property
    def _is_norm(self) -> bool:
        return isinstance(self.cost, str) and self.cost in _NORMS

    @property
    def _is_squared_euclidean(self) -> bool:
        return self.cost == "sqeuclidean" or (self.cost == "euclidean" and self.power == 2)

    def _may_be_negative(self) -> bool:
        return not self._is_norm and self.cost != "cosine"

    def _transpose(self) -> PointCloud:
        turned = super()._transpose()
        return turned._replace(cost=_swap(self.cost)) if callable(self.cost) else turned

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        if callable(self.cost):
            return self.cost(self.x[..., rows, :][..., :, None, :], self.y[..., None, :, :])
        return super()._block(rows)

    def _scalars_per_entry(self) -> int:
        return self.x.shape[-1] if callable(self.cost) else super()._scalars_per_entry()

    def _space(self) -> Space:
        return Space(self.x, self.y, partial(PointCloud, cost=self.cost, p=self.p, power=self.power))

    def _on_line(self) -> tuple[Tensor, Tensor] | None:
        # Half of (x - y)^2 is -xy up to terms of one side, so that the product is convex too.
        if self.x.shape[-1] != 1 or callable(self.cost) or self.cost == "cosine":
            return None
        concave = self.power is not None and self.power < 1
        return None if concave else (self.x[..., 0], self.y[..., 0])

    def _pairs(self) -> Points | None:
        if callable(self.cost):
            return None
        if self.cost == "dot":
            return Points(self.x, self.y, "dot")
        if self.cost == "cosine":
            # Half the squared distance of the directions: never negative, and exact for small angles.
            return Points(direction(self.x) * math.sqrt(0.5), direction(self.y) * math.sqrt(0.5), "norm", 2.0, 2.0)
        order, power = _NORMS[self.cost]
        return Points(
            self.x,
            self.y,
            "norm",
            self.p if order is None else order,
            power if self.power is None else self.power,
        )


def direction(points: Tensor) -> Tensor:
    """Vectors of length one."""
    scaled = points / points.detach().abs().amax(-1, keepdim=True)
    return scaled / scaled.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class _Swapped:
    """A cost with its two arguments exchanged."""

    cost: Cost

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self.cost(y, x)


def _swap(cost: Cost) -> Cost:
    return cost.cost if isinstance(cost, _Swapped) else _Swapped(cost)


def check_directions(who: str, **clouds: Tensor) -> None:
    """No point may be the zero vector."""
    for name, points in clouds.items():
        zero = (points == 0).all(-1)
        if bool(zero.any()):
            raise InputError(
                f"{who} needs vectors with a direction, but {int(zero.sum())} points of {name} are zero, the "
                f"first at {tuple(zero.nonzero()[0].tolist())}: drop them."
            )


def _check_cost(cost: str | Cost, p: float, power: float | None) -> None:
    if not callable(cost):
        check_choice("cost", cost, _COSTS)
    # The norm of infinite order is the largest difference.
    check_number("p", p, low=1.0, infinity=True)
    if p != 2 and cost != "minkowski":
        raise InputError(f"p={p!r} is the order of cost='minkowski' and has no effect for cost={cost!r}: leave it out.")
    if power is None:
        return
    check_number("power", power, low=0.0, strict=True)
    if cost not in _NORMS or cost == "sqeuclidean":
        raise InputError(
            f"power={power!r} is the power of a norm (euclidean, cityblock, chebyshev, minkowski) and has no effect "
            f"for cost={cost!r}: leave it out, or write cost='euclidean', power={power!r}."
        )


def _check_answer(answer: Any, expected: tuple[int, ...]) -> None:
    if not isinstance(answer, Tensor) or tuple(answer.shape) != expected:
        told = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ShapeError(
            f"cost must turn points (*b, k, 1, d) and (*b, 1, m, d) into costs (*b, k, m), here of shape "
            f"{expected}, but it returned {told}: reduce the last dimension, as in (x - y).abs().sum(-1)."
        )
    check_finite("cost", answer.detach(), infinity=True)
