"""The Schur complement of a fixed-point system on its columns, solved by Cholesky or by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge.problem.marginal import column

from ._conjugate_gradients import conjugate_gradients
from ._eliminated import Eliminated
from ._operators import DenseOperator

__all__ = ["Schur"]


@dataclass(frozen=True)
class Schur(Eliminated):
    """What [[R, P, r], [P^T, K, c], [r^T, c^T, |P|]] leaves on columns and mass when the rows are eliminated.

    Args:
        diagonal: The diagonal of K.
        free: Which columns move.
    """

    diagonal: Float[Tensor, "*b m"]
    free: Bool[Tensor, "*b m"]

    def solve(
        self, f: Tensor, g: Tensor, s: Tensor, *, tol: float, max_iter: int
    ) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"], Float[Tensor, "*b"]]:
        """The solution of the whole system for a right-hand side (f, g, s).

        The complement of a stored plan is factorised; otherwise conjugate gradients run to the relative residual
        ``tol``.
        """
        reduced = self.inverse * f
        g = torch.where(self.free, g - self.plan.columns(reduced), 0.0)
        s = s - (self.r * reduced).sum(-1) if self.partial else torch.zeros_like(s)
        if self.gauge:
            # Right-hand sides in the range sum to zero; rounding, and masses that change, leave it.
            g = g - self.c * column(g.sum(-1) / self.c.sum(-1))
        right = torch.cat([g, s[..., None]], -1)
        if isinstance(self.plan, DenseOperator):
            y = self._by_cholesky(right, self.plan.matrix)
        else:
            y = self._by_conjugate_gradients(right, tol, max_iter)
        g, s = y[..., :-1], y[..., -1]
        heard = self.plan.rows(g) + self.r * column(s)
        return self.inverse * (f - heard), g, s

    def _by_cholesky(self, right: Tensor, plan: Tensor) -> Tensor:
        m, inverse, r = plan.shape[-1], self.inverse.to(plan.dtype), self.r.to(plan.dtype)
        moving = plan * self.free[..., None, :]
        schur = plan.new_zeros(*right.shape[:-1], m + 1, m + 1)
        schur[..., :m, :m] = torch.diag_embed(self.diagonal) - moving.mT @ (inverse[..., None] * moving)
        schur[..., m, m] = 1.0
        if self.partial:
            border = self.free * self.c - (moving.mT @ (inverse * r)[..., None])[..., 0]
            schur[..., m, :m], schur[..., :m, m] = border, border
            schur[..., m, m] = r.sum(-1) - (r * inverse * r).sum(-1)
        if self.gauge:
            c = self.c.to(plan.dtype)
            schur[..., :m, :m] += c[..., None] * (c / column(c.sum(-1)))[..., None, :]
        return _factorised(schur, right.to(plan.dtype)).to(right.dtype)

    def _by_conjugate_gradients(self, right: Tensor, tol: float, max_iter: int) -> Tensor:
        """Preconditioned by the exact diagonal."""
        diagonal = self.diagonal - torch.where(self.free, self.plan.squared().columns(self.inverse), 0.0)
        floor = torch.finfo(right.dtype).eps * self.diagonal
        last = torch.ones_like(right[..., :1])
        if self.partial:
            last = (self.r.sum(-1) - (self.r * self.inverse * self.r).sum(-1)).clamp(min=0)[..., None]
            last = torch.where(last > 0, last, 1.0)
        scale = 1.0 / torch.cat([torch.maximum(diagonal, floor).clamp(min=torch.finfo(right.dtype).tiny), last], -1)
        return conjugate_gradients(self._product, right, scale, tol**2, max_iter)[0]

    def _product(self, y: Tensor) -> Tensor:
        g, s = y[..., :-1], y[..., -1:]  # without a mass s is zero and stays so
        f = self.inverse * (self.plan.rows(g) + self.r * s)
        out = self.diagonal * g + torch.where(self.free, self.c * s - self.plan.columns(f), 0.0)
        if self.partial:
            s = self.r.sum(-1, keepdim=True) * s + ((self.c * g).sum(-1) - (self.r * f).sum(-1))[..., None]
        return torch.cat([out, s], -1)


def _factorised(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution of a semi-definite system, with as small a ridge as makes it definite."""
    identity = matrix.diagonal(dim1=-2, dim2=-1)
    ridge = 1e-15
    while ridge < 1.0:
        factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed(ridge * identity))
        if not bool(failed.any()):
            break
        ridge *= 100
    return torch.cholesky_solve(right[..., None], factor)[..., 0]
