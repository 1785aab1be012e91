"""A plan as a matrix."""

from __future__ import annotations

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from monge._checks import check_finite, check_floating
from monge._value import value
from monge.errors import InputError, ShapeError

from .base import Coupling, Rows

__all__ = ["DenseCoupling"]


@value
class DenseCoupling(Coupling):
    """A plan held entry by entry: for small problems, for input, and as the twin that tests compare with.

    Args:
        matrix: (*b, n, m), non-negative.

    Example:
        >>> import torch
        >>> DenseCoupling(torch.eye(3) / 3).marginals()[0]
        tensor([0.3333, 0.3333, 0.3333])
    """

    matrix: Float[Tensor, "*b n m"]
    _core: ClassVar[dict[str, int]] = {"matrix": 2}

    def __post_init__(self) -> None:
        check_floating("matrix", self.matrix)
        if self.matrix.ndim < 2:
            raise ShapeError(f"matrix must have shape (*batch, n, m), but has {tuple(self.matrix.shape)}.")
        check_finite("matrix", self.matrix)
        if self.matrix.numel() and bool((self.matrix < 0).any()):
            raise InputError(f"A plan must be non-negative, but its smallest entry is {float(self.matrix.min()):g}.")

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape)

    def _transpose(self) -> Coupling:
        return DenseCoupling._make(matrix=self.matrix.transpose(-1, -2))

    def _matmul(self, v: Tensor) -> Tensor:
        return self.matrix @ v

    def _block(self, rows: Rows) -> Tensor:
        return self.matrix[..., rows, :]

    def _marginals(self) -> tuple[Tensor, Tensor]:
        return self.matrix.sum(-1), self.matrix.sum(-2)

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return DenseCoupling._make(matrix=row[..., :, None] * self.matrix * col[..., None, :])

    def _select(self, index: Any, batch: Any) -> Coupling:
        del batch  # a matrix has all its batch dimensions
        return DenseCoupling._make(matrix=self.matrix[index])
