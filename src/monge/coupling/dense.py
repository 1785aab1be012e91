"""Plans that are stored as a matrix."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at
from monge._checks import check_matrix
from monge._value import value

from . import _validate
from .base import Coupling, Rows

__all__ = ["DenseCoupling"]


@value
class DenseCoupling(Coupling):
    """A plan given as a matrix: for small problems and for tests.

    Args:
        matrix: P_ij >= 0.

    Raises:
        ShapeError, DtypeError: If it is not a floating-point matrix with at least one row and one column.
        InputError: If an entry is negative or not finite.

    Example:
        >>> import torch
        >>> from monge.coupling import DenseCoupling
        >>> DenseCoupling(torch.eye(2) / 2).entropy()
        tensor(0.6931)
    """

    matrix: Float[Tensor, "*b n m"]

    def __post_init__(self) -> None:
        check_matrix("matrix", self.matrix)
        _validate.masses(matrix=self.matrix)

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape)

    def _transpose(self) -> DenseCoupling:
        return self._make(matrix=self.matrix.mT)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return self.matrix @ v

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self.matrix[..., rows, :]

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return self.matrix.sum(-1)

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return at(self.matrix.flatten(-2), i * self.matrix.shape[-1] + j)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> DenseCoupling:
        return self._make(matrix=row[..., :, None] * self.matrix * col[..., None, :])
