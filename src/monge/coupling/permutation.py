"""A bijection."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_finite, check_floating
from monge._value import value
from monge.errors import InputError, ShapeError

from .base import Coupling, Entries, Rows

__all__ = ["PermutationCoupling"]


@value
class PermutationCoupling(Coupling):
    """A bijection: source i sends its weight to target perm[i], and applying it is a gather.

    Args:
        perm: (*b, n) a permutation of 0..n-1 per problem.
        weights: (*b, n) what each source sends; None is 1/n each.

    Example:
        >>> import torch
        >>> P = PermutationCoupling(torch.tensor([2, 0, 1]))
        >>> P.barycentric(torch.tensor([[10.0], [20.0], [30.0]]))[:, 0]
        tensor([30., 10., 20.])
    """

    perm: Int[Tensor, "*b n"]
    weights: Float[Tensor, "*b n"] = None  # type: ignore[assignment]
    _core: ClassVar[dict[str, int]] = {"perm": 1, "weights": 1}

    def __post_init__(self) -> None:
        perm, n = self.perm, self.perm.shape[-1] if self.perm.ndim else 0
        if perm.dtype != torch.long or perm.ndim < 1:
            raise ShapeError(
                f"perm must be an int64 tensor of shape (*batch, n), but is {perm.dtype} of shape {tuple(perm.shape)}."
            )
        counts = torch.arange(n, device=perm.device)
        if not bool((perm.sort(-1).values == counts).all()):
            raise InputError(
                f"perm must hold each of 0..{n - 1} once: for a plan that is no bijection use SparseCoupling."
            )
        if self.weights is None:
            object.__setattr__(self, "weights", torch.full(perm.shape, 1.0 / max(n, 1), device=perm.device))
        check_floating("weights", self.weights)
        check_finite("weights", self.weights)
        if self.weights.shape[-1] != n:
            raise ShapeError(f"weights must have shape (*batch, {n}), but has {tuple(self.weights.shape)}.")

    def _shape(self) -> tuple[int, ...]:
        n = self.perm.shape[-1]
        return (*torch.broadcast_shapes(self.perm.shape[:-1], self.weights.shape[:-1]), n, n)

    def _inverse(self) -> Tensor:
        places = torch.arange(self.perm.shape[-1], device=self.perm.device).expand(self.perm.shape)
        return torch.empty_like(self.perm).scatter_(-1, self.perm, places)

    def _transpose(self) -> Coupling:
        inverse = self._inverse()
        return PermutationCoupling._make(perm=inverse, weights=_gather(self.weights, inverse))

    def _matmul(self, v: Tensor) -> Tensor:
        return self.weights[..., None] * _gather_rows(v, self.perm)

    def _average(self, v: Tensor) -> Tensor:
        return torch.where(self.weights[..., None] > 0, _gather_rows(v, self.perm), 0)

    def _block(self, rows: Rows) -> Tensor:
        perm, weights = self.perm[..., rows], self.weights[..., rows]
        perm, weights = torch.broadcast_tensors(perm, weights)
        empty = weights.new_zeros(*weights.shape, self.perm.shape[-1])
        return empty.scatter(-1, perm[..., None], weights[..., None])

    def _marginals(self) -> tuple[Tensor, Tensor]:
        return self.weights, _gather(self.weights, self._inverse())

    def _entries(self) -> Entries:
        places = torch.arange(self.perm.shape[-1], device=self.perm.device)
        i, j, w = torch.broadcast_tensors(places, self.perm, self.weights)
        return i, j, w

    def _scale(self, row: Tensor, col: Tensor) -> Coupling:
        return PermutationCoupling._make(perm=self.perm, weights=self.weights * row * _gather(col, self.perm))

    def _sample_rows(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        del generator  # there is nothing to draw
        return self.perm[..., rows]


def _gather(weights: Tensor, index: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(weights.shape[:-1], index.shape[:-1])
    return weights.expand(*batch, -1).gather(-1, index.expand(*batch, -1))


def _gather_rows(v: Tensor, index: Tensor) -> Tensor:
    if index.ndim == 1:
        return v.index_select(-2, index)
    batch = torch.broadcast_shapes(v.shape[:-2], index.shape[:-1])
    spread = index[..., None].expand(*batch, index.shape[-1], v.shape[-1])
    return v.expand(*batch, *v.shape[-2:]).gather(-2, spread)
