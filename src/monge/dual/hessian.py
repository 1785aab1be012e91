"""The linear system of a converged problem: minus epsilon times the Hessian of its dual."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from monge._value import Value, value
from monge.problem import Linear
from monge.problem.marginal import column, log_weights

from ._operators import Operator, StreamedOperator
from .schur import Schur

__all__ = ["Hessian", "Vector"]

# Up to this many entries of all plans of a batch, and this many unknowns, the matrix is formed and factorised.
DENSE_ENTRIES = 2**22
DENSE_UNKNOWNS = 2048


class Vector(NamedTuple):
    """A change of the potentials, or a residual: one part for the rows, one for the columns, one for the mass."""

    f: Float[Tensor, "*b n"]
    g: Float[Tensor, "*b m"]
    s: Float[Tensor, "*b"]


@value
class Hessian(Value):
    """The symmetric matrix [[R, P, r], [P^T, K, c], [r^T, c^T, |P|]] over the potentials that can move.

    P is the plan, r and c its marginals, R = diag(r + epsilon kappa) and K = diag(c + epsilon kappa) with the
    curvatures kappa of the two sides. The last row and column belong to the multiplier of the mass and are absent
    without one. Potentials that are pinned to a kink, and absent points, do not move. Products stream the plan.
    """

    plan: StreamedOperator
    kappa_f: Float[Tensor, "*b n"]  # epsilon times the curvature, zero where pinned
    kappa_g: Float[Tensor, "*b m"]
    free_f: Bool[Tensor, "*b n"]
    free_g: Bool[Tensor, "*b m"]
    partial: bool
    gauge: bool

    @classmethod
    def at(cls, problem: Linear, f: Tensor, g: Tensor, s: Tensor) -> Hessian:
        """The system of a problem at its solution; with a mass, f and g are without its multiplier s."""
        epsilon = problem.epsilon.broadcast_to(problem.batch_shape)
        curvature_f, curvature_g = problem.source._curvature(f), problem.target._curvature(g)
        free_f, free_g = curvature_f.isfinite() & (problem.a > 0), curvature_g.isfinite() & (problem.b > 0)
        return cls(
            StreamedOperator(
                problem.geometry,
                log_weights(problem.a) + f / column(epsilon),
                log_weights(problem.b) + (g + column(s)) / column(epsilon),
                epsilon,
            ),
            column(epsilon) * torch.where(free_f, curvature_f, 0.0),
            column(epsilon) * torch.where(free_g, curvature_g, 0.0),
            free_f,
            free_g,
            problem.partial,
            problem.balanced,
        )

    @property
    def T(self) -> Hessian:  # noqa: N802 - the mathematics says T
        """The same system with the two sides exchanged."""
        return Hessian(self.plan.T, self.kappa_g, self.kappa_f, self.free_g, self.free_f, self.partial, self.gauge)

    def off_diagonal(self, y: Vector) -> Vector:
        """The product with y less that of the diagonal blocks: what each block hears from the others."""
        return self._heard(y)[0]

    def product(self, y: Vector) -> Vector:
        """The product with y, zero at potentials that do not move."""
        heard, r, c = self._heard(y)
        f = torch.where(self.free_f, (r + self.kappa_f) * y.f + heard.f, 0.0)
        g = torch.where(self.free_g, (c + self.kappa_g) * y.g + heard.g, 0.0)
        return Vector(f, g, heard.s + r.sum(-1) * y.s if self.partial else heard.s)

    def _heard(self, y: Vector) -> tuple[Vector, Tensor, Tensor]:
        """What each block hears from the others, and the marginals of the plan from the same passes."""
        (plan_g, r), (plan_f, c) = self.plan.with_sums(y.g), self.plan.T.with_sums(y.f)
        if not self.partial:
            return Vector(plan_g, plan_f, torch.zeros_like(y.s)), r, c
        heard = (r * y.f).sum(-1) + (c * y.g).sum(-1)
        return Vector(plan_g + r * column(y.s), plan_f + c * column(y.s), heard), r, c

    def solve(self, v: Vector, *, tol: float, max_iter: int) -> Vector:
        """The y whose product is v, differentiable to any order in v and in everything the system is made of."""
        with torch.no_grad():
            y = self.detach()._solution(v, tol, max_iter)
        if not torch.is_grad_enabled():
            return y
        # The residual is zero but for rounding; it carries the derivative, and its own solution is the correction.
        residual = [part - product for part, product in zip(v, self.product(y), strict=True)]
        correction = _Correction.apply(self, tol, max_iter, *residual)
        return Vector(*(part + change for part, change in zip(y, correction, strict=True)))

    def _solution(self, v: Vector, tol: float, max_iter: int) -> Vector:
        v = Vector(torch.where(self.free_f, v.f, 0.0), torch.where(self.free_g, v.g, 0.0), v.s)
        n, m = self.plan.geometry.shape
        if n < m:
            g, f, s = self.T._eliminated(Vector(v.g, v.f, v.s), tol, max_iter)
            return Vector(f, g, s)
        return self._eliminated(v, tol, max_iter)

    def _eliminated(self, v: Vector, tol: float, max_iter: int) -> Vector:
        plan: Operator = self.plan
        dtype, kappa_f, kappa_g = v.g.dtype, self.kappa_f, self.kappa_g
        if self.plan.geometry.shape[1] <= DENSE_UNKNOWNS and self.plan.entries() <= DENSE_ENTRIES:
            # A factorisation is cheap in double precision too, and the system may be nearly singular.
            plan, kappa_f, kappa_g = self.plan.dense(), kappa_f.double(), kappa_g.double()
            v = Vector(*(part.double() for part in v))
        r, c = plan.rows(torch.ones_like(v.g)), plan.columns(torch.ones_like(v.f))
        schur = Schur(
            plan=plan,
            r=r,
            c=c,
            inverse=torch.where(self.free_f & (r > 0), 1.0 / (r + kappa_f), 0.0),
            diagonal=torch.where(self.free_g & (c > 0), c + kappa_g, 1.0),
            free=self.free_g & (c > 0),
            partial=self.partial,
            gauge=self.gauge,
        )
        y = schur.solve(*v, tol=tol, max_iter=max_iter)
        return Vector(*(part.to(dtype) for part in y))


class _Correction(torch.autograd.Function):
    """Zero, with the derivative of the solution of a linear system."""

    @staticmethod
    def forward(ctx: Any, system: Hessian, tol: float, max_iter: int, *residual: Tensor) -> tuple[Tensor, ...]:
        ctx.system, ctx.tol, ctx.max_iter = system, tol, max_iter
        return tuple(torch.zeros_like(part) for part in residual)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # The system is symmetric.
        return None, None, None, *ctx.system.solve(Vector(*grads), tol=ctx.tol, max_iter=ctx.max_iter)
