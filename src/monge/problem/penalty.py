"""What missing a relaxed marginal costs, by name: Kullback-Leibler, squared L2, total variation, and others'."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from monge.registry import Registry, check_derived

__all__ = ["PENALTIES", "Penalty"]


@dataclass(frozen=True)
class Penalty(ABC):
    r"""A convex price S(mu) of a marginal mu that misses its weights a, with a strength rho, point by point.

    Solvers see it through the dual, whose term of one point is $-S^*(-f)$ for a potential f. A new penalty writes the
    price, that term, the two derivatives of the term, and its maximum together with the entropy. A point of zero weight
    is absent: it carries no mass whatever the price. All formulas are differentiable by a, rho and their argument.

    Once it is registered, by ``PENALTIES.register("name", Mine)``, it is used as ``Relaxed(weights, rho, "name")``.
    `monge.testing.check_penalty` compares its formulas with each other.

    Args:
        a: The weights.
        rho: The strength, a number or (*b, 1).

    Example:
        >>> import torch
        >>> from monge.problem import PENALTIES
        >>> PENALTIES["tv"](torch.tensor([0.5, 0.5]), 2.0).price(torch.tensor([0.5, 0.25]))
        tensor([0.0000, 0.5000])

    Source: Chizat et al., Scaling algorithms for unbalanced optimal transport problems, arXiv:1607.05816.
    """

    a: Float[Tensor, "*b n"]
    rho: Any

    rates: ClassVar[tuple[float, float] | None] = None
    """If the price is a straight line on either side of a: what a unit too little and a unit too much cost, in units of
    rho. Exact solvers, which pay it at a dummy point, need that."""
    exponential: ClassVar[bool] = False
    """Whether the marginal that a potential implies is a exp(-f / rho)."""

    @abstractmethod
    def price(self, mu: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """S(mu), which is zero at a."""

    @abstractmethod
    def conjugate(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """-S*(-f), the minimum of S(mu) + f mu over mu >= 0; -inf where there is none, zero at absent points."""

    @abstractmethod
    def mass_at(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The mu that attains it, the derivative of the conjugate by f; at a kink the largest."""

    @abstractmethod
    def curvature(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The derivative of mass_at by -f; inf where f sits on a kink, which pins it."""

    @abstractmethod
    def maximiser(self, q: Float[Tensor, "*b n"], epsilon: Any) -> Float[Tensor, "*b n"]:
        """The f with mass_at(f) = a exp((f - q) / epsilon); q may be inf, at points that can reach nothing."""

    def project(self, f: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The nearest potential whose conjugate is finite and not flat."""
        return f


class KullbackLeibler(Penalty):
    """rho KL(mu | a) = rho sum mu log(mu / a) - mu + a."""

    exponential = True

    def maximiser(self, q: Tensor, epsilon: Any) -> Tensor:
        # A point that can reach nothing has q = inf; its potential stays finite, and exp(-f / rho) vanishes.
        most = q.new_tensor(-math.log(torch.finfo(q.dtype).tiny)) * self.rho
        return torch.minimum(q / (1 + epsilon / self.rho), most)

    def conjugate(self, f: Tensor) -> Tensor:
        return -self.rho * self.a * torch.expm1(torch.where(self.a > 0, -f / self.rho, 0.0))

    def price(self, mu: Tensor) -> Tensor:
        present = self.a > 0
        reference = torch.where(present, self.a, 1.0)
        paid = torch.special.xlogy(mu, mu / reference) - mu + self.a
        return self.rho * torch.where(present, paid, torch.where(mu > 0, math.inf, 0.0))

    def mass_at(self, f: Tensor) -> Tensor:
        return self.a * torch.exp(torch.where(self.a > 0, -f / self.rho, 0.0))

    def curvature(self, f: Tensor) -> Tensor:
        return self.mass_at(f) / self.rho


class SquaredL2(Penalty):
    """(rho / 2) |mu - a|^2 over mu >= 0."""

    def maximiser(self, q: Tensor, epsilon: Any) -> Tensor:
        """The root f < rho a of a exp((f - q) / eps) = a - f / rho, a Lambert W in the logarithmic domain.

        With k = rho a and z = (k - f) / eps the equation is z + log z = log(k / eps) + (k - q) / eps.
        Newton's method on w = log z falls on the root from above, since w + exp(w) is convex. It stops short
        where k is huge and f is not, so two steps on the equation in f itself, eps log(1 - f / k) = f - q,
        finish; they start from a constant, and carry derivatives exact up to the third.
        """
        present = (self.a > 0) & q.isfinite()
        k = torch.where(present, self.rho * self.a, 1.0)
        q = torch.where(present, q, 0.0)
        target = torch.log(k / epsilon) + (k - q) / epsilon
        with torch.no_grad():
            w = _log_omega(torch.where(target > 1, torch.log(target.clamp(min=1.0)), target), target, 8)
            start = k - epsilon * torch.exp(w)
        f = start
        for _ in range(2):
            # 1 - f/k from whichever of the two forms keeps its digits.
            near = f < 0.5 * k
            gap = torch.where(near, 1 - f / k, 1.0)
            log_gap = torch.log1p(torch.where(near, -f / k, 0.0))
            f = torch.where(near, f - (f - q - epsilon * log_gap) / (1 + epsilon / (k * gap)), f)
        far = k - epsilon * torch.exp(_log_omega(w, target, 2))
        return torch.where(present, torch.where(start < 0.5 * k, f, far), self.rho * self.a)

    def conjugate(self, f: Tensor) -> Tensor:
        reached = torch.where(self.a > 0, torch.minimum(f, self.rho * self.a), 0.0)
        return reached * self.a - reached * reached / (2 * self.rho)

    def price(self, mu: Tensor) -> Tensor:
        return self.rho / 2 * (mu - self.a) ** 2

    def project(self, f: Tensor) -> Tensor:
        return torch.minimum(f, self.rho * self.a)

    def mass_at(self, f: Tensor) -> Tensor:
        return torch.where(self.a > 0, (self.a - f / self.rho).clamp(min=0), 0.0)

    def curvature(self, f: Tensor) -> Tensor:
        gradient = torch.ones_like(f) / self.rho
        return torch.where((self.a > 0) & (f < self.rho * self.a), gradient, 0.0)


class TotalVariation(Penalty):
    """rho |mu - a|_1: up to rho is paid for each unit of mass that is created or destroyed."""

    rates = (1.0, 1.0)

    def maximiser(self, q: Tensor, epsilon: Any) -> Tensor:
        return self.project(q)

    def conjugate(self, f: Tensor) -> Tensor:
        return torch.where((f < -self.rho) & (self.a > 0), -math.inf, self.a * self.project(f))

    def price(self, mu: Tensor) -> Tensor:
        return self.rho * (mu - self.a).abs()

    def project(self, f: Tensor) -> Tensor:
        # Unlike that of clamp, the derivative at the kink is that of rho: a potential that sits there moves with it.
        return torch.where(f >= self.rho, self.rho, torch.where(f <= -self.rho, -self.rho, f))

    def mass_at(self, f: Tensor) -> Tensor:
        inside = torch.where(f <= self.rho, self.a, 0.0)
        return torch.where((f <= -self.rho) & (self.a > 0), math.inf, inside)

    def curvature(self, f: Tensor) -> Tensor:
        return torch.where(f.abs() < self.rho, 0.0, torch.full_like(f, math.inf))


def _log_omega(w: Tensor, target: Tensor, steps: int) -> Tensor:
    """Newton steps from w towards the root of w + exp(w) = target, differentiable in the target."""
    for _ in range(steps):
        z = torch.exp(w)
        w = w - (w + z - target) / (1 + z)
    return w


PENALTIES: Registry[type[Penalty]] = Registry(
    "penalty", check=partial(check_derived, base=Penalty, where="monge.problem.Penalty")
)
"""Prices of relaxed marginals, by the name that `Relaxed` and `monge.couple` take."""
PENALTIES.register("kl", KullbackLeibler)
PENALTIES.register("l2", SquaredL2)
PENALTIES.register("tv", TotalVariation)
