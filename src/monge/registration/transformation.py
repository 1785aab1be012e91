"""Maps of space that a registration finds."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import power
from monge._checks import check_choice, check_number, check_points
from monge._users_arrays import takes_arrays
from monge._value import Value, value
from monge.errors import ShapeError

__all__ = ["KERNELS", "Rigid", "Transformation", "Warp", "radial"]

KERNELS = ("thin-plate", "gaussian")


class Transformation(Value, ABC):
    """A map from points to points, which can be called."""

    _any_dtype = True

    @abstractmethod
    def _apply(self, points: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
        """The image of every point."""

    @takes_arrays
    def __call__(self, points: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n d"]:
        """The image of every point, in the dtype and the kind of the points: NumPy in, NumPy out."""
        check_points("points", points)
        return self._apply(points.to(self.dtype)).to(points.dtype)


@value
class Rigid(Transformation):
    r"""Rotation, scale and translation, $x \mapsto s R x + t$.

    Args:
        rotation: R, orthogonal.
        translation: t.
        scale: s > 0.

    Raises:
        ShapeError: A rotation that is not square or does not fit the translation.

    Example:
        >>> import torch
        >>> turn = Rigid(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.tensor([1.0, 0.0]), torch.tensor(2.0))
        >>> turn(torch.tensor([[1.0, 0.0]]))
        tensor([[1., 2.]])
        >>> turn.inverse()(turn(torch.tensor([[3.0, 4.0]])))
        tensor([[3., 4.]])
    """

    rotation: Float[Tensor, "*b d d"]
    translation: Float[Tensor, "*b d"]
    scale: Float[Tensor, "*b"]

    def __post_init__(self) -> None:
        d = self.rotation.shape[-1]
        if self.rotation.shape[-2:] != (d, d) or self.translation.shape[-1] != d:
            raise ShapeError(
                f"rotation and translation must have shapes (d, d) and (d,), but have {tuple(self.rotation.shape)} and "
                f"{tuple(self.translation.shape)}."
            )

    def _apply(self, points: Tensor) -> Tensor:
        turned = points @ self.rotation.mT
        return self.scale[..., None, None] * turned + self.translation[..., None, :]

    def inverse(self) -> Rigid:
        """The inverse motion."""
        rotation = self.rotation.mT
        back = -(rotation @ self.translation[..., None])[..., 0] / self.scale[..., None]
        return self._make(rotation=rotation, translation=back, scale=1 / self.scale)

    def _pick(self, index: int | Tensor) -> Rigid:
        """One motion of a batch, or some."""
        return self._map(lambda held: held[index])


@value
class Warp(Transformation):
    r"""A rigid motion, then an affine map and a smooth displacement.

    $$x \mapsto A z + t + \sum_k w_k K(|z - c_k| / \ell), \qquad z = s R x + t_0.$$

    Args:
        start: The rigid motion that is applied first.
        matrix: A.
        translation: t.
        weights: w_k, one displacement per control point.
        control: c_k.
        length: The length scale.
        kernel: ``"thin-plate"``, $r^2 \log r$ in the plane and $-r$ elsewhere, or ``"gaussian"``, $e^{-r^2/2}$.

    Example:
        >>> import torch
        >>> start = Rigid(torch.eye(2), torch.zeros(2), torch.tensor(1.0))
        >>> control, pull = torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])
        >>> bump = Warp(start, torch.eye(2), torch.zeros(2), pull, control, torch.tensor(1.0), "gaussian")
        >>> bump(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
        tensor([[0.0000e+00, 1.0000e+00],
                [9.0000e+00, 2.5768e-18]])
    """

    start: Rigid
    matrix: Float[Tensor, "d d"]
    translation: Float[Tensor, " d"]
    weights: Float[Tensor, "k d"]
    control: Float[Tensor, "k d"]
    length: Float[Tensor, ""]
    kernel: str = "thin-plate"

    def __post_init__(self) -> None:
        check_choice("kernel", self.kernel, KERNELS)
        check_number("length", float(self.length), low=0.0, strict=True)
        if self.weights.shape != self.control.shape:
            raise ShapeError(
                f"weights and control must be given point by point, but have shapes {tuple(self.weights.shape)} and "
                f"{tuple(self.control.shape)}."
            )

    def _apply(self, points: Tensor) -> Tensor:
        moved = self.start._apply(points)
        bent = radial(moved, self.control, self.length, self.kernel) @ self.weights
        return moved @ self.matrix.T + self.translation + bent


def radial(x: Tensor, control: Tensor, length: Tensor, kernel: str) -> Tensor:
    """The kernel between points and control points."""
    square = (x[..., :, None, :] - control).square().sum(-1) / length**2
    if kernel == "gaussian":
        return torch.exp(-square / 2)
    return torch.where(square > 0, square, 1).log() * square / 2 if x.shape[-1] == 2 else -power(square, 0.5)
