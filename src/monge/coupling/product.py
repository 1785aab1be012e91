"""Independence."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_finite, check_floating, check_same
from monge._value import value
from monge.errors import InputError

from .base import Coupling, Rows

__all__ = ["ProductCoupling"]


@value
class ProductCoupling(Coupling):
    """The independent plan a⊗b / total, which tells nothing about who goes where.

    Args:
        a: (*b, n) row weights.
        b: (*b, m) column weights.
        total: (*b,) divisor; None takes the mass of a, so that equal masses make a and b the marginals. Where it is
            zero the plan is zero.

    Example:
        >>> import torch
        >>> ProductCoupling(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])).dense()
        tensor([[0.1250, 0.3750],
                [0.1250, 0.3750]])
    """

    a: Float[Tensor, "*b n"]
    b: Float[Tensor, "*b m"]
    total: Float[Tensor, "*b"] = None  # type: ignore[assignment]
    _core: ClassVar[dict[str, int]] = {"a": 1, "b": 1, "total": 0}

    def __post_init__(self) -> None:
        for name, weights in (("a", self.a), ("b", self.b)):
            check_floating(name, weights)
            check_finite(name, weights)
            if weights.numel() and bool((weights < 0).any()):
                raise InputError(f"{name} must be non-negative, but its smallest weight is {float(weights.min()):g}.")
        if self.total is None:
            object.__setattr__(self, "total", self.a.sum(-1))
        check_same(a=self.a, b=self.b, total=self.total)

    def _shape(self) -> tuple[int, ...]:
        batch = torch.broadcast_shapes(self.a.shape[:-1], self.b.shape[:-1], self.total.shape)
        return (*batch, self.a.shape[-1], self.b.shape[-1])

    def _per_mass(self) -> Tensor:
        present = self.total > 0
        return torch.where(present, 1 / torch.where(present, self.total, 1), 0)[..., None]

    def _transpose(self) -> Coupling:
        return ProductCoupling._make(a=self.b, b=self.a, total=self.total)

    def _matmul(self, v: Tensor) -> Tensor:
        return (self.a * self._per_mass())[..., :, None] * (self.b[..., None, :] @ v)

    def _block(self, rows: Rows) -> Tensor:
        return (self.a * self._per_mass())[..., rows, None] * self.b[..., None, :]

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return ProductCoupling._make(a=self.a * row, b=self.b * col, total=self.total)
