"""The three prices of a relaxed marginal: Kullback-Leibler, squared L2, total variation.

Each is a set of formulas in the weights a, the strength rho, and a potential f or a marginal mu, point by point.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["PENALTIES", "KullbackLeibler", "SquaredL2", "TotalVariation"]


class Price(NamedTuple):
    """Weights a and a strength rho, ready to meet one number per point."""

    a: Tensor
    rho: Any

    def maximiser(self, q: Tensor, epsilon: Any) -> Tensor:
        return self.project(q)

    def project(self, f: Tensor) -> Tensor:
        return f


class KullbackLeibler(Price):
    """rho KL(mu | a) = rho sum mu log(mu / a) - mu + a."""

    def maximiser(self, q: Tensor, epsilon: Any) -> Tensor:
        # A point that can reach nothing has q = inf; its potential stays finite, and exp(-f / rho) vanishes.
        most = q.new_tensor(-math.log(torch.finfo(q.dtype).tiny)) * self.rho
        return torch.minimum(q / (1 + epsilon / self.rho), most)

    def conjugate(self, f: Tensor) -> Tensor:
        return -self.rho * self.a * torch.expm1(torch.where(self.a > 0, -f / self.rho, 0.0))

    def penalty(self, mu: Tensor) -> Tensor:
        present = self.a > 0
        reference = torch.where(present, self.a, 1.0)
        price = torch.special.xlogy(mu, mu / reference) - mu + self.a
        return self.rho * torch.where(present, price, torch.where(mu > 0, math.inf, 0.0))

    def mass_at(self, f: Tensor) -> Tensor:
        return self.a * torch.exp(torch.where(self.a > 0, -f / self.rho, 0.0))

    def curvature(self, f: Tensor) -> Tensor:
        return self.mass_at(f) / self.rho


class SquaredL2(Price):
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

    def penalty(self, mu: Tensor) -> Tensor:
        return self.rho / 2 * (mu - self.a) ** 2

    def project(self, f: Tensor) -> Tensor:
        return torch.minimum(f, self.rho * self.a)

    def mass_at(self, f: Tensor) -> Tensor:
        return torch.where(self.a > 0, (self.a - f / self.rho).clamp(min=0), 0.0)

    def curvature(self, f: Tensor) -> Tensor:
        gradient = torch.ones_like(f) / self.rho
        return torch.where((self.a > 0) & (f < self.rho * self.a), gradient, 0.0)


class TotalVariation(Price):
    """rho |mu - a|_1: up to rho is paid for each unit of mass that is created or destroyed."""

    def conjugate(self, f: Tensor) -> Tensor:
        return torch.where((f < -self.rho) & (self.a > 0), -math.inf, self.a * self.project(f))

    def penalty(self, mu: Tensor) -> Tensor:
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


PENALTIES: dict[str, Any] = {"kl": KullbackLeibler, "l2": SquaredL2, "tv": TotalVariation}
