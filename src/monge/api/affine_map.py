"""Affine maps of space."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monge._checks import check_points
from monge._users_arrays import take_fields, takes_arrays
from monge._value import Value, value
from monge.errors import ShapeError

__all__ = ["AffineMap"]


@value
class AffineMap(Value):
    r"""The map $x \mapsto A x + t$ of points, which can be called.

    Args:
        matrix: A.
        translation: t.

    Raises:
        ShapeError: If the translation does not fit the matrix.

    Example:
        >>> import torch
        >>> from monge.api import AffineMap
        >>> AffineMap(torch.tensor([[2.0]]), torch.tensor([1.0]))(torch.tensor([[3.0]]))
        tensor([[7.]])
    """

    matrix: Float[Tensor, "*b d d"]
    translation: Float[Tensor, "*b d"]
    _any_dtype = True

    _enter = take_fields

    def __post_init__(self) -> None:
        if self.matrix.ndim < 2 or self.translation.shape[-1:] != self.matrix.shape[-2:-1]:
            raise ShapeError(
                f"matrix and translation must have shapes (d, d) and (d,), but have {tuple(self.matrix.shape)} and "
                f"{tuple(self.translation.shape)}: give both the same d."
            )

    @takes_arrays
    def __call__(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
        """The image of every point, in the dtype and the kind of the points: NumPy in, NumPy out."""
        check_points("x", x)
        if x.shape[-1] != self.matrix.shape[-1]:
            raise ShapeError(
                f"x must have points of dimension {self.matrix.shape[-1]}, but they have dimension {x.shape[-1]}: give "
                "them the coordinates that the map was made for."
            )
        moved = x.to(self.dtype) @ self.matrix.mT + self.translation[..., None, :]
        return moved.to(x.dtype)
