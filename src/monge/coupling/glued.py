"""A plan that is followed by another plan."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_batches, check_same, check_vector
from monge._value import value
from monge.errors import InputError, ShapeError

from . import _validate
from ._hooks import Representation
from ._numbers import fraction
from .base import Coupling, Rows
from .permutation import PermutationCoupling

__all__ = ["GluedCoupling", "diagonal"]


@value
class GluedCoupling(Coupling):
    r"""The plan $P\,\mathrm{diag}(1/\mu)\,Q$ that goes through points in the middle.

    At each point in the middle, the mass that arrives is distributed by Q, wherever it comes from (this is the gluing
    lemma). A point in the middle with $\mu = 0$ is absent.

    Args:
        P: The first plan.
        Q: The second plan, from the target points of the first.
        mu: The mass in the middle. By default it is the row marginal of Q; then the row marginal of the result is that
            of P.

    Raises:
        InputError: If one of the two is no plan, or a mass is negative.
        ShapeError, DtypeError, DeviceError: If the plans do not share the points in the middle.

    Example:
        >>> import torch
        >>> from monge.coupling import GluedCoupling, PermutationCoupling
        >>> swap = PermutationCoupling(torch.tensor([1, 0]))
        >>> GluedCoupling(swap, swap).dense()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """

    P: Coupling
    Q: Coupling
    mu: Float[Tensor, "*b m"] = None  # type: ignore[assignment]
    _sides = (("P", "Q"),)

    def __post_init__(self) -> None:
        for name, plan in (("P", self.P), ("Q", self.Q)):
            if not isinstance(plan, Coupling):
                raise InputError(f"{name} must be a coupling, but is {type(plan).__name__}: for values use P @ v.")
        if self.P._shape()[-1] != self.Q._shape()[-2]:
            raise ShapeError(
                f"The target points of P must be the source points of Q, but P is {tuple(self.P.shape)} and Q "
                f"{tuple(self.Q.shape)}: exchange them, or transpose one with .T."
            )
        check_same(P=self.P, Q=self.Q)
        if self.mu is None:
            object.__setattr__(self, "mu", self.Q._row_sums())
        check_vector("mu", self.mu, self.P._shape()[-1], "mass per point in the middle")
        check_same(P=self.P, mu=self.mu)
        _validate.masses(mu=self.mu)
        check_batches(**self._batches())

    def _shape(self) -> tuple[int, ...]:
        return (*self._leading(), self.P._shape()[-2], self.Q._shape()[-1])

    def _batches(self) -> dict[str, torch.Size]:
        return {"P": self.P.batch_shape, "Q": self.Q.batch_shape, **super()._batches()}

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return self.P._matmul(fraction(self.Q._matmul(v), self.mu[..., None]))

    def _scalars_per_entry(self) -> int:
        # A block of the first plan is as many rows of another width.
        wide, narrow = self.P._shape()[-1], self.Q._shape()[-1]
        return 1 + self.P._scalars_per_entry() * -(-wide // narrow)

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        first = fraction(self.P._block(rows), self.mu[..., None, :])
        block = self.Q._transpose()._matmul(first.mT).mT
        return block.expand(*self._shape()[:-2], *block.shape[-2:])

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return self.P._matmul(fraction(self.Q._row_sums(), self.mu)[..., None])[..., 0]

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> GluedCoupling:
        one = torch.ones_like(self.mu)
        return self._make(P=self.P._scale(row, one), Q=self.Q._scale(one, col), mu=self.mu)


def diagonal(row: Float[Tensor, "*b n"], P: Representation, col: Float[Tensor, "*b m"]) -> GluedCoupling:
    """diag(row) P diag(col) for any plan, as a gluing of P with two diagonal plans."""
    left, right = (
        PermutationCoupling._make(perm=torch.arange(part.shape[-1], device=part.device), weights=part)
        for part in (row, col)
    )
    first = GluedCoupling._make(P=left, Q=P, mu=torch.ones_like(row))
    return GluedCoupling._make(P=first, Q=right, mu=torch.ones_like(col))
