"""The Hessian of the semi-dual, scaled by the masses of its columns, solved by Cholesky or by conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from monge.problem.marginal import column

from ._conjugate_gradients import conjugate_gradients
from ._eliminated import Eliminated
from ._operators import DenseOperator, SparseOperator

__all__ = ["ScaledHessian"]

# Up to so many columns a stored plan is factorised at once; up to the second number where iterations do not get there.
_FACTORISED, _FACTORISABLE = 256, 2048
_ITERATIONS, _PATIENCE = 500, 120
# The least ridge of a factorisation, and what is added where rounding makes the matrix indefinite.
_LEAST_RIDGE, _RIDGE = 1e-12, 1e-8
# Iterations need more of a ridge: nearly separate blocks of the plan would take them for ever. They end at a relative
# residual whose square is the error, or this.
_ITERATED_SHARE, _LEAST_ACCURATE = 0.01, 1e-2


@dataclass(frozen=True)
class ScaledHessian(Eliminated):
    """(1 + ridge) I - W^T W + sign z z^T with W = R^-1/2 P S and S = D^-1/2, whose spectrum is [ridge, 1 + ridge].

    Args:
        scale: The diagonal of S, zero at columns that do not move.
        share: The ridge that makes a step short where the matrix is nearly singular, as a share of the error.
        error: The marginal error, which sets how well the system is worth solving.
    """

    scale: Float[Tensor, "*b m"]
    share: Float[Tensor, "*b"]
    error: Float[Tensor, "*b"]

    @cached_property
    def border(self) -> tuple[Float[Tensor, "*b m"], float]:
        """The vector z and its sign.

        It is made of the square roots of the masses, along which a balanced matrix is singular; or it is what
        eliminating the multiplier of the mass leaves.
        """
        if self.gauge:
            border = torch.where(self.scale > 0, self.c.sqrt(), 0.0)
            return border / column(border.norm(dim=-1).clamp(min=torch.finfo(self.c.dtype).tiny)), 1.0
        if not self.partial:
            return torch.zeros_like(self.scale), 0.0
        held = (self.r - self.r * self.inverse * self.r).sum(-1)
        some = held > 1e-12 * self.r.sum(-1)
        border = self.scale * (self.c - self.plan.columns(self.inverse * self.r))
        return torch.where(column(some), border / column(torch.where(some, held, 1.0).sqrt()), 0.0), -1.0

    def heard(self, g: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
        """P^T R^-1 P g: what columns hear of a change g of others, through the rows."""
        if not bool(g.any()):
            return torch.zeros_like(g)
        return self.plan.columns(self.inverse * self.plan.rows(g))

    def solve(self, right: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m"]:
        """The unscaled solution; NaN where there is none."""
        right = self.scale * right
        m, plan = right.shape[-1], self.plan
        if isinstance(plan, DenseOperator) and m <= _FACTORISED:
            return self.scale * self._by_cholesky(right, plan)
        known = plan if m <= _FACTORISABLE and isinstance(plan, (DenseOperator, SparseOperator)) else None
        y, done = self._by_conjugate_gradients(right, _ITERATIONS if known is None else _PATIENCE)
        if known is not None and not bool(done.all()):
            y = torch.where(column(done), y, self._by_cholesky(right, known))
        return self.scale * y

    def _by_cholesky(self, right: Tensor, plan: DenseOperator | SparseOperator) -> Tensor:
        ridge = (self.share * self.error).clamp(min=_LEAST_RIDGE)
        border, sign = self.border
        matrix = -(self.scale[..., :, None] * plan.gram(self.inverse) * self.scale[..., None, :])
        matrix += sign * border[..., :, None] * border[..., None, :]
        matrix.diagonal(dim1=-2, dim2=-1).add_(1 + column(ridge))
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed.any()):
            matrix.diagonal(dim1=-2, dim2=-1).add_(_RIDGE * (failed > 0).to(matrix.dtype)[..., None])
            factor, failed = torch.linalg.cholesky_ex(matrix)
        solved = torch.cholesky_solve(right[..., None], factor)[..., 0]
        return torch.where(column(failed > 0), torch.nan, solved)

    def _by_conjugate_gradients(self, right: Tensor, max_iter: int) -> tuple[Tensor, Tensor]:
        """Preconditioned by the exact diagonal."""
        one = 1 + column(self.share.clamp(min=_ITERATED_SHARE) * self.error)
        diagonal = one - self.scale**2 * self.plan.squared().columns(self.inverse)
        # The square roots of the masses are not missed here, since the right side has no part along them.
        border = torch.zeros_like(self.scale) if self.gauge else self.border[0]
        inverse = 1.0 / (diagonal - border**2).clamp(min=1e-13)

        def product(y: Tensor) -> Tensor:
            heard = self.plan.columns(self.inverse * self.plan.rows(self.scale * y))
            return one * y - self.scale * heard - border * column((border * y).sum(-1))

        return conjugate_gradients(product, right, inverse, self.error.clamp(max=_LEAST_ACCURATE), max_iter)
