"""Bijections."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import at, take
from monge._checks import check_batches, check_device, check_vector
from monge._value import value
from monge.errors import InputError

from . import _validate
from .base import Coupling, Entries, Rows

__all__ = ["PermutationCoupling"]


@value
class PermutationCoupling(Coupling):
    """A plan that sends every source point to its own target point: the mass of i is at the entry (i, perm_i).

    Args:
        perm: The partner of each source point; each problem holds 0, ..., n - 1 in some order.
        weights: The mass of each source point, 1 / n by default.

    Raises:
        InputError: If a partner is missing or shared, or a mass is negative.
        ShapeError, DtypeError, DeviceError: If the tensors do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> P = PermutationCoupling(torch.tensor([2, 0, 1]))
        >>> P.barycentric(torch.tensor([10.0, 20.0, 30.0]))
        tensor([30., 10., 20.])
        >>> P.T.perm
        tensor([1, 2, 0])
    """

    perm: Int[Tensor, "*b n"]
    weights: Float[Tensor, "*b n"] = None  # type: ignore[assignment]
    _tells_mass = True

    def __post_init__(self) -> None:
        _validate.indices("perm", self.perm, self.perm.shape[-1] if isinstance(self.perm, Tensor) else 0)
        perm = self.perm.long()
        n = perm.shape[-1]
        if n == 0 or not bool((perm.sort(-1).values == torch.arange(n, device=perm.device)).all()):
            raise InputError(
                f"perm must hold each of 0, ..., {n - 1} once, but some are missing or shared: a plan with several "
                "partners a point is a SparseCoupling."
            )
        w = torch.full((n,), 1.0 / n, device=perm.device) if self.weights is None else self.weights
        check_vector("weights", w, n, "mass per point")
        check_device(perm=perm, weights=w)
        _validate.masses(weights=w)
        object.__setattr__(self, "perm", perm)
        object.__setattr__(self, "weights", w)
        check_batches(**self._batches())

    def _shape(self) -> tuple[int, ...]:
        n = self.perm.shape[-1]
        return (*self._leading(), n, n)

    def _transpose(self) -> PermutationCoupling:
        inverse = self.perm.argsort(-1)
        return self._make(perm=inverse, weights=at(self.weights, inverse))

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return self.weights[..., None] * take(v, self.perm)

    def _average(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return take(v, self.perm).masked_fill((self.weights == 0)[..., None], 0)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        *batch, _, m = self._shape()
        perm = self.perm[..., rows].expand(*batch, -1)
        w = self.weights[..., rows].expand(*batch, -1)
        return w.new_zeros(*perm.shape, m).scatter(-1, perm[..., None], w[..., None])

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return self.weights

    def _entries(self) -> Entries:
        i = torch.arange(self.perm.shape[-1], device=self.perm.device)
        i, j, w = torch.broadcast_tensors(i, self.perm, self.weights)
        return i, j, w

    def _assignment(self) -> Int[Tensor, "*b n"]:
        return self.perm.expand(self._shape()[:-1])

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return at(self.weights, i) * (at(self.perm, i) == j)

    def _sample_rows(self, i: Int[Tensor, "*b k"], u: Float[Tensor, "*b k"]) -> Int[Tensor, "*b k"]:
        return at(self.perm, i).expand(u.shape)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> PermutationCoupling:
        return self._make(perm=self.perm, weights=self.weights * row * at(col, self.perm))
