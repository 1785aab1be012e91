"""The three prices of a relaxed marginal: Kullback-Leibler, squared L2, total variation.

Each is a set of formulas in the weights a, the strength rho, and a potential f or a marginal mu, point by
point.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["PENALTIES", "KullbackLeibler", "SquaredL2", "TotalVariation"]


class KullbackLeibler:
    """rho KL(mu | a) = rho sum mu log(mu / a) - mu + a."""

    @staticmethod
    def maximiser(a: Tensor, rho: Any, q: Tensor, epsilon: Any) -> Tensor:
        # A point that can reach nothing has q = inf; its potential stays finite, and exp(-f / rho) vanishes.
        return torch.minimum(q / (1 + epsilon / rho), q.new_tensor(-math.log(torch.finfo(q.dtype).tiny)) * rho)

    @staticmethod
    def conjugate(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return -rho * a * torch.expm1(torch.where(a > 0, -f / rho, 0.0))

    @staticmethod
    def penalty(a: Tensor, rho: Any, mu: Tensor) -> Tensor:
        present = a > 0
        reference = torch.where(present, a, 1.0)
        price = torch.special.xlogy(mu, mu / reference) - mu + a
        return rho * torch.where(present, price, torch.where(mu > 0, math.inf, 0.0))

    @staticmethod
    def project(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return f

    @staticmethod
    def mass_at(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return a * torch.exp(torch.where(a > 0, -f / rho, 0.0))

    @staticmethod
    def curvature(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return KullbackLeibler.mass_at(a, rho, f) / rho


class SquaredL2:
    """(rho / 2) |mu - a|^2 over mu >= 0."""

    @staticmethod
    def maximiser(a: Tensor, rho: Any, q: Tensor, epsilon: Any) -> Tensor:
        """The root f < rho a of a exp((f - q) / eps) = a - f / rho, a Lambert W in the logarithmic domain.

        With k = rho a and z = (k - f) / eps the equation is z + log z = log(k / eps) + (k - q) / eps.
        Newton's method on w = log z falls on the root from above, since w + exp(w) is convex. It stops short
        where k is huge and f is not, so two steps on the equation in f itself, eps log(1 - f / k) = f - q,
        finish; they start from a constant, and carry derivatives exact up to the third.
        """
        present = (a > 0) & q.isfinite()
        k = torch.where(present, rho * a, 1.0)
        q = torch.where(present, q, 0.0)
        with torch.no_grad():
            target = torch.log(k / epsilon) + (k - q) / epsilon
            w = torch.where(target > 1, torch.log(target.clamp(min=1.0)), target)
            for _ in range(8):
                z = torch.exp(w)
                w = w - (w + z - target) / (1 + z)
            z = torch.exp(w)
            start = k - epsilon * z
        f = start
        for _ in range(2):
            # 1 - f/k from whichever of the two forms keeps its digits.
            near = f < 0.5 * k
            gap = torch.where(near, 1 - f / k, 1.0)
            log_gap = torch.log1p(torch.where(near, -f / k, 0.0))
            f = torch.where(near, f - (f - q - epsilon * log_gap) / (1 + epsilon / (k * gap)), f)
        far = k - epsilon * _omega_steps(w, torch.log(k / epsilon) + (k - q) / epsilon)
        return torch.where(present, torch.where(start < 0.5 * k, f, far), rho * a)

    @staticmethod
    def conjugate(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        reached = torch.where(a > 0, torch.minimum(f, rho * a), 0.0)
        return reached * a - reached * reached / (2 * rho)

    @staticmethod
    def penalty(a: Tensor, rho: Any, mu: Tensor) -> Tensor:
        return rho / 2 * (mu - a) ** 2

    @staticmethod
    def project(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return torch.minimum(f, rho * a)

    @staticmethod
    def mass_at(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return torch.where(a > 0, (a - f / rho).clamp(min=0), 0.0)

    @staticmethod
    def curvature(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        gradient = torch.ones_like(f) / rho
        return torch.where((a > 0) & (f < rho * a), gradient, 0.0)


class TotalVariation:
    """rho |mu - a|_1: up to rho is paid for each unit of mass that is created or destroyed."""

    @staticmethod
    def maximiser(a: Tensor, rho: Any, q: Tensor, epsilon: Any) -> Tensor:
        return TotalVariation.project(a, rho, q)

    @staticmethod
    def conjugate(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return torch.where((f < -rho) & (a > 0), -math.inf, a * TotalVariation.project(a, rho, f))

    @staticmethod
    def penalty(a: Tensor, rho: Any, mu: Tensor) -> Tensor:
        return rho * (mu - a).abs()

    @staticmethod
    def project(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        # Unlike that of clamp, the derivative at the kink is that of rho: a potential that sits there moves with it.
        return torch.where(f >= rho, rho, torch.where(f <= -rho, -rho, f))

    @staticmethod
    def mass_at(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        inside = torch.where(f <= rho, a, 0.0)
        return torch.where((f <= -rho) & (a > 0), math.inf, inside)

    @staticmethod
    def curvature(a: Tensor, rho: Any, f: Tensor) -> Tensor:
        return torch.where(f.abs() < rho, 0.0, torch.full_like(f, math.inf))


def _omega_steps(w: Tensor, target: Tensor) -> Tensor:
    """exp(w) at the root of w + exp(w) = target, by two differentiable Newton steps from a constant."""
    for _ in range(2):
        z = torch.exp(w)
        w = w - (w + z - target) / (1 + z)
    return torch.exp(w)


PENALTIES: dict[str, Any] = {"kl": KullbackLeibler, "l2": SquaredL2, "tv": TotalVariation}
