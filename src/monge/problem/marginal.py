"""What is asked of one marginal of a plan: the base class of `Fixed`, `Relaxed`, `AtMost` and `Free`."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from monge._arrays import column, log_small, pick
from monge._checks import check_weights
from monge._users_arrays import take_fields
from monge._value import Value, value

__all__ = ["Constraint", "Marginal", "column", "log_weights", "pairing", "rounding"]


@value
class Marginal(Value):
    """One side of a problem: a convex price S(mu) of the marginal mu, beside the reference weights a.

    The dual contains S as its conjugate, -S*(-f), and everything that a solver needs follows from it: the exact
    maximiser over the potentials of one side, the marginal that a potential implies, and the derivative of this
    marginal. A point of zero weight is absent: it has no mass, whatever the price.
    """

    weights: Float[Tensor, "*b n"]
    # Whether missing it costs at most linearly, so that exact solvers can pay the price at a dummy point.
    linear: ClassVar[bool] = True

    _enter = take_fields

    def __post_init__(self) -> None:
        n = self.weights.shape[-1] if isinstance(self.weights, Tensor) and self.weights.ndim else 0
        check_weights("weights", self.weights, n)

    def _select(self, index: Any, batch: torch.Size) -> Self:
        """The marginals of some problems, seen as a batch of shape ``batch``."""
        return self._replace(weights=pick(self.weights, 1, batch, index))

    @property
    def total(self) -> Float[Tensor, "*b"]:
        """The sum of the weights."""
        return self.weights.sum(-1)

    def _maximiser(self, q: Float[Tensor, "*b n"], epsilon: Float[Tensor, "*#b"]) -> Float[Tensor, "*b n"]:
        """The maximiser f of -S*(-f) - epsilon <a, exp((f - q) / epsilon)>; q is the transform of g.

        Where the dual term is a straight line up to kinks it is q itself, as far as the kinks let it be.
        """
        return self._project(q)

    @abstractmethod
    def _conjugate(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
        """The term of the dual, -S*(-f), summed over points; -inf outside its domain."""

    @abstractmethod
    def _penalty(self, mu: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
        """The term of the primal, S(mu), summed over points; +inf where a constraint is broken."""

    def _priced(self, mu: Float[Tensor, "*b n"], f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
        """The penalty, where breaking a constraint costs the largest potential |f| per unit of mass.

        That exact penalty has the same solution, and keeps the duality gap finite and non-negative for a plan
        whose marginals are met only to a tolerance.
        """
        return self._penalty(mu)

    def _violation(self, mu: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
        """The mass by which a constraint is broken."""
        return torch.zeros_like(mu[..., 0])

    def _met_by(self, mu: Float[Tensor, "*b n"]) -> Self:
        """The nearest marginal of this kind whose constraint mu meets."""
        return self

    def _nearest(self, mu: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The nearest marginal that meets the constraint."""
        return mu

    def _project(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The nearest potential whose dual term is finite and not flat."""
        return f

    @abstractmethod
    def _mass_at(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The marginal mu(f) that a potential implies, d(-S*(-f))/df; at a kink the largest."""

    @abstractmethod
    def _curvature(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The gradient -dmu/df, zero if the marginal is fixed; inf where f sits on a kink, which pins it."""


class Constraint(Marginal):
    """A marginal that must satisfy a constraint, and has no price."""

    def _conjugate(self, f: Tensor) -> Tensor:
        return pairing(self.weights, self._project(f))

    def _penalty(self, mu: Tensor) -> Tensor:
        met = self._violation(mu) <= rounding(mu.dtype) * self.total
        return torch.where(met, 0.0, math.inf).to(mu.dtype)

    def _priced(self, mu: Tensor, f: Tensor) -> Tensor:
        largest = torch.where(self.weights > 0, f, 0.0).abs().amax(-1)
        return largest * self._violation(mu)


def log_weights(weights: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """The logarithm of weights, -inf at zero, whose derivative at zero is zero rather than NaN."""
    present = weights > 0
    return torch.where(present, log_small(torch.where(present, weights, 1.0)), -math.inf)


def pairing(a: Float[Tensor, "*b n"], f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b"]:
    """<a, f>, where an absent point counts as zero even if its potential is infinite."""
    return (a * torch.where(a == 0, f.nan_to_num(math.nan, 0.0, 0.0), f)).sum(-1)


def rounding(dtype: torch.dtype) -> float:
    """The relative L1 error under which two masses count as equal in this dtype."""
    return 1e-9 if dtype == torch.float64 else max(1e-4, 2 * torch.finfo(dtype).eps)
