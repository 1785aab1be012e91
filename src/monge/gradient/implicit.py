"""Gradients through the equations of the solution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monge._checks import check_number
from monge._parts import Parts, parts_of
from monge._value import value
from monge.dual import Hessian, Vector
from monge.problem import Linear
from monge.problem.marginal import column, log_weights

from .base import Gradient

__all__ = ["Implicit"]


@value
class Implicit(Gradient):
    """Differentiate the equations that converged potentials satisfy.

    Potentials z = (f, g) solve z = F(z, theta), where F is the exact maximiser of each side. They enter the graph
    through one function. Its backward pass solves the transposed system (I - dF/dz)^T w = v on the smaller side, by
    Cholesky if it is small, and otherwise by conjugate gradients on streamed products with the plan; the result is
    (dF/dtheta)^T w. Everything that is computed from the potentials, such as plans, barycentres and costs, uses
    autograd as usual. By the envelope theorem, the first derivative of the value does not need the system; the second
    one does.

    Args:
        tol: Relative residual of conjugate gradients.
        max_iter: Limit of their iterations.

    Example:
        >>> from monge.gradient import Implicit
        >>> Implicit()
        Implicit(tol=1e-10, max_iter=1000)

    Source: Eisenberger et al., A unified framework for implicit Sinkhorn differentiation, arXiv:2205.06688.
    """

    tol: float = 1e-10
    max_iter: int = 1000

    def __post_init__(self) -> None:
        check_number("tol", self.tol, low=0.0, high=1.0, strict=True)
        check_number("max_iter", self.max_iter, low=1)

    def _attach(self, problem: Linear, f: Tensor, g: Tensor) -> tuple[Linear, Tensor, Tensor]:
        f, g = f.detach(), g.detach()
        # Costs may be functions with tensors of their own, on which the potentials depend as well.
        parts = parts_of(problem)
        if not (torch.is_grad_enabled() and any(leaf.requires_grad for leaf in parts.tensors)):
            return problem, *problem._normalised(f, g)
        alpha, beta = problem._split(f, g)
        s = (alpha + beta).broadcast_to(problem.batch_shape)
        f, g, s = _FixedPoint.apply(self, parts, f - column(alpha), g - column(beta), s, *parts.tensors)  # type: ignore[misc]
        f, g = _absent_too(problem, f + column(s), g)
        return problem, *problem._normalised(f, g)

    def _value(self, problem: Linear, f: Tensor, g: Tensor) -> Tensor:
        return problem.dual(*problem._settled(*_Stationary.apply(f, g)))  # type: ignore[misc]


class _FixedPoint(torch.autograd.Function):
    """The converged potentials as a function of every tensor of the problem."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, settings: Implicit, parts: Parts, f: Tensor, g: Tensor, s: Tensor, *leaves: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.settings, ctx.parts = settings, parts
        ctx.set_materialize_grads(False)
        f, g, s = f.clone(), g.clone(), s.clone()
        ctx.save_for_backward(f, g, s, *leaves)
        return f, g, s

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        wanted = [k for k, need in enumerate(ctx.needs_input_grad[5:]) if need]
        answer: list[Tensor | None] = [None] * (len(ctx.needs_input_grad) - 5)
        if not wanted or all(cotangent is None for cotangent in cotangents):
            return (None, None, None, None, None, *answer)
        f, g, s, *leaves = ctx.saved_tensors
        # Under grad mode someone wants a further derivative: then everything stays attached, potentials included.
        further = torch.is_grad_enabled()
        z = Vector(f, g, s)
        v = Vector(*(torch.zeros_like(p) if c is None else c for p, c in zip(z, cotangents, strict=True)))

        def felt(problem: Linear) -> list[Tensor]:
            system = Hessian.at(problem, f, g, s)
            y = system.solve(v, tol=ctx.settings.tol, max_iter=ctx.settings.max_iter)
            return [part - heard for part, heard in zip(v, system.off_diagonal(y), strict=True)]

        w = ctx.parts.within(leaves, felt)
        with torch.enable_grad():
            # Views, so that a leaf made from another leaf is not differentiated twice.
            direct = [
                leaf if k not in wanted else leaf.view_as(leaf) if further else leaf.detach().requires_grad_()
                for k, leaf in enumerate(leaves)
            ]
            found = ctx.parts.within(
                direct, lambda problem: _gradients(_images(problem, z), w, [direct[k] for k in wanted], further)
            )
        for k, grad in zip(wanted, found, strict=True):
            answer[k] = grad
        return (None, None, None, None, None, *answer)


def _gradients(answers: Vector, grads: list[Tensor], leaves: list[Tensor], further: bool) -> tuple[Tensor | None, ...]:
    """The derivatives of <answers, grads> by the leaves."""
    live = [(out, grad) for out, grad in zip(answers, grads, strict=True) if out.requires_grad]
    return torch.autograd.grad(
        [out for out, _ in live], leaves, [grad for _, grad in live], create_graph=further, allow_unused=True
    )


class _Stationary(torch.autograd.Function):
    """Potentials at which the value is stationary: it needs no first derivative through them, only further ones."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.set_materialize_grads(False)
        return f.view_as(f), g.view_as(g)

    @staticmethod
    def backward(ctx: Any, f: Tensor | None, g: Tensor | None) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        return (f, g) if torch.is_grad_enabled() else (None, None)


def _images(problem: Linear, z: Vector) -> Vector:
    """The exact maximiser of every block, from the others' old values: the solution is the fixed point of that map."""
    f, g, s = z
    epsilon = problem.epsilon.broadcast_to(problem.batch_shape)
    level = column(s) if problem.partial else 0.0
    q, p = problem._row_transform(g), problem._col_transform(f)
    if problem.partial:
        moved = torch.logsumexp(log_weights(problem.a) + (f - q) / column(epsilon), -1)
        s = epsilon * (torch.log(problem.mass) - moved)  # type: ignore[arg-type]
    return Vector(problem.source._maximiser(q - level, epsilon), problem.target._maximiser(p - level, epsilon), s)


def _absent_too(problem: Linear, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Potentials of absent points, which the fixed point does not depend on, by one differentiable step of the map."""
    alpha, beta = problem._split(f, g)
    f = _absent_rows(problem, f, g, column(alpha))
    return f, _absent_rows(problem.T, g, f, column(beta))


def _absent_rows(problem: Linear, f: Tensor, g: Tensor, level: Tensor | float) -> Tensor:
    here = problem.a > 0
    if bool(here.all()):
        return f
    return torch.where(here, f, problem.source._maximiser(problem._row_transform(g) - level, problem.epsilon) + level)
