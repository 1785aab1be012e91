"""Square roots of symmetric matrices, with derivatives of any order where eigenvalues coincide or vanish."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["pseudo_inverse", "symmetric_root"]

Matrices = Float[Tensor, "*b d d"]


def symmetric_root(matrix: Matrices) -> Matrices:
    """The positive semidefinite square root; eigenvalues within rounding of zero count as zero."""
    return _Root.apply(matrix)  # type: ignore[no-any-return]


def pseudo_inverse(root: Matrices) -> Matrices:
    """The inverse on the range of a symmetric matrix, and zero on its kernel."""
    return torch.linalg.pinv(root, hermitian=True, rtol=_rounding(root) ** 0.5)


def _rounding(matrix: Tensor) -> float:
    """Eigenvalues of so small a share of the largest one are rounding."""
    return 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps


class _Root(torch.autograd.Function):
    """S with S S = A. A change of A by dA changes S by the X with S X + X S = dA."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
        least = _rounding(matrix) * values[..., -1:].clamp(min=0)
        roots = values.masked_fill(values <= least, 0).sqrt()
        return (vectors * roots[..., None, :]) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        gradient = gradients[0]
        return _Sylvester.apply(root, (gradient + gradient.mT) / 2)  # type: ignore[no-any-return]


class _Sylvester(torch.autograd.Function):
    """The symmetric X with S X + X S = G, and zero on the kernel of S, where no X would do."""

    generate_vmap_rule = True

    @staticmethod
    def forward(root: Tensor, right: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(root)
        values = values.clamp(min=0)
        sums = values[..., :, None] + values[..., None, :]
        empty = sums <= _rounding(root) ** 0.5 * values[..., -1:, None]
        turned = (vectors.mT @ right @ vectors / sums.masked_fill(empty, 1)).masked_fill(empty, 0)
        return vectors @ turned @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        root, answer = ctx.saved_tensors
        gradient = gradients[0]
        back = _Sylvester.apply(root, (gradient + gradient.mT) / 2)
        product = back @ answer
        return -(product + product.mT), back
