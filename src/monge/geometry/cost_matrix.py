"""A cost that is stored as a matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import Self

from monge._arrays import broadcast_shapes
from monge._checks import check_finite, check_matrix
from monge._value import value
from monge.kernels import Matrix

from .base import Geometry, Rows

__all__ = ["CostMatrix"]


@value
class CostMatrix(Geometry):
    """A cost given as a matrix.

    Args:
        cost: The cost of each pair; +inf forbids it.

    Raises:
        ShapeError: If it is not a matrix or is empty.
        InputError: If it holds NaN or -inf.

    Example:
        >>> import torch
        >>> from monge.geometry import CostMatrix
        >>> CostMatrix(torch.tensor([[0.0, torch.inf], [1.0, 2.0]])).mean()
        tensor(1.)
    """

    cost: Float[Tensor, "*b n m"]

    def __post_init__(self) -> None:
        check_matrix("cost", self.cost)
        check_finite("cost", self.cost.detach(), infinity=True)

    @property
    def shape(self) -> tuple[int, int]:
        """How many source points and target points there are."""
        return self.cost.shape[-2], self.cost.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return self.cost.shape[:-2]

    def _transpose(self) -> Self:
        return self._replace(cost=self.cost.mT)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self.cost[..., rows, :]

    def _pairs(self) -> Matrix:
        return Matrix(self.cost)

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        batch = broadcast_shapes(self.batch_shape, i.shape[:-1], j.shape[:-1])
        if i.ndim == j.ndim == 1:
            return self.cost[..., i, j]
        problems = torch.meshgrid(*(torch.arange(size, device=i.device) for size in batch), indexing="ij")
        return self.cost.expand(*batch, *self.shape)[(*(problem[..., None] for problem in problems), i, j)]
