"""Transport whose entropy is relative to a chosen measure of pairs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import broadcast_shapes, column, pick
from monge._checks import check_matrix, check_same
from monge._value import value
from monge.errors import InputError, ShapeError
from monge.geometry import CostMatrix, Geometry

from .base import Plan, Problem
from .linear import Linear, Terms
from .marginal import log_weights

__all__ = ["Referenced"]


@value
class Referenced(Problem):
    r"""A linear problem whose entropy is relative to a chosen measure R of pairs, and not to a⊗b.

    min_P <C, P> + epsilon KL(P | R) + S(P 1) + T(P^T 1), where KL(P | R) = sum P log(P / R) - P + R. R is a prior plan,
    or `r[:, None] * c` of two measures, or all ones for the entropy sum P log P - P + 1. A pair where R is zero is
    forbidden. It is the problem of cost $C - \epsilon \log(R / a \otimes b)$, with a constant. So it is solved,
    on a stored matrix, and the plan is a `monge.coupling.DenseCoupling` which answers for the cost C. Between fixed
    marginals a product R = r⊗c changes the value and not the plan; where mass may be missed it changes both.

    Args:
        linear: Cost, marginals and a positive epsilon.
        reference: The measure R, not negative.

    Raises:
        InputError: If epsilon is zero, or R is negative or not finite.
        ShapeError, DtypeError, DeviceError: If R does not fit the cost.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear, Referenced
        >>> linear = Linear(CostMatrix(torch.zeros(2, 2)), epsilon=1.0)
        >>> prior = torch.tensor([[0.4, 0.1], [0.1, 0.4]])
        >>> solve(Referenced(linear, prior)).coupling.dense()  # the prior has the marginals already
        tensor([[0.4000, 0.1000],
                [0.1000, 0.4000]])

    Source: Benamou et al., Iterative Bregman projections for regularized transportation problems, arXiv:1412.5154.
    """

    linear: Linear
    reference: Float[Tensor, "*b n m"]
    _differs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_matrix("reference", self.reference)
        if self.reference.shape[-2:] != self.linear.shape:
            raise ShapeError(
                f"reference must have one number per pair, shape {self.linear.shape}, but has shape "
                f"{tuple(self.reference.shape)}: a measure r⊗c is r[:, None] * c."
            )
        check_same(cost=torch.empty((), dtype=self.linear.dtype, device=self.linear.device), reference=self.reference)
        if not bool(((self.reference >= 0) & self.reference.isfinite()).all()):
            raise InputError(
                "reference must be finite and not negative, but goes from "
                f"{float(self.reference.min()):g} to {float(self.reference.max()):g}: zero forbids a pair."
            )
        if not self.linear.entropic:
            raise InputError("reference needs entropy, but epsilon is 0: give the problem a positive epsilon.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plan."""
        return self.linear.shape

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return broadcast_shapes(self.linear.batch_shape, self.reference.shape[:-2])

    @property
    def traits(self) -> frozenset[str]:
        """Those of the linear problem that is solved."""
        return self._posed().traits

    def primal(self, P: Plan) -> Float[Tensor, "*b"]:
        """The objective at a plan, +inf if the plan breaks a constraint by more than rounding."""
        return self._posed().primal(P) + self._constant()

    def terms(self, P: Plan) -> Terms:
        """The parts of the objective at a plan: <C, P>, epsilon KL(P | R), and the prices of both sides."""
        tilted, cost = self._posed().terms(P), P.transport_cost(self.linear.geometry)
        return tilted._replace(cost=cost, entropy=tilted.cost + tilted.entropy - cost + self._constant())

    def gap(self, P: Plan, f: Tensor | None = None, g: Tensor | None = None) -> Float[Tensor, "*b"]:
        """How far a plan can be from optimal, by the potentials f and g of a solution."""
        return self._posed().gap(P, f, g)

    def _posed(self) -> Linear:
        """The linear problem of the same plans, whose cost carries the reference."""
        linear = self.linear
        density = log_weights(self.reference) - _finite(linear.a)[..., None] - _finite(linear.b)[..., None, :]
        forbidden = density == -math.inf
        cost = linear.geometry._dense() - column(linear.epsilon, 2) * density.masked_fill(forbidden, 0)
        return linear._replace(geometry=CostMatrix._make(cost=cost.masked_fill(forbidden, math.inf)))

    def _constant(self) -> Tensor:
        """What its objective exceeds that of the problem that is solved by."""
        linear = self.linear
        return linear.epsilon * (self.reference.sum((-1, -2)) - linear.source.total * linear.target.total)

    def _remembered(self) -> Geometry:
        return self.linear.geometry

    def _select(self, index: Any) -> Referenced:
        batch = self.batch_shape
        whole = self.linear._replace(epsilon=self.linear.epsilon.expand(batch))
        return self._make(linear=whole._select(index), reference=pick(self.reference, 2, batch, index))


def _finite(weights: Tensor) -> Tensor:
    """Logarithms of weights, zero for a point that is absent."""
    return torch.where(weights > 0, log_weights(weights), 0.0)
