"""A penalty as a package outside of Monge would write it."""

from __future__ import annotations

import math

import torch

from monge.problem import PENALTIES

__all__ = ["Lopsided"]


class Lopsided(PENALTIES["tv"]):
    """A unit too much costs twice what a unit too little does."""

    rates = (1.0, 2.0)

    def price(self, mu):
        return self.rho * (2 * (mu - self.a).clamp_min(0) + (self.a - mu).clamp_min(0))

    def project(self, f):
        return torch.where(f >= self.rho, self.rho, torch.where(f <= -2 * self.rho, -2 * self.rho, f))

    def conjugate(self, f):
        return torch.where((f < -2 * self.rho) & (self.a > 0), -math.inf, self.a * self.project(f))

    def mass_at(self, f):
        inside = torch.where(f <= self.rho, self.a, 0.0)
        return torch.where((f <= -2 * self.rho) & (self.a > 0), math.inf, inside)

    def curvature(self, f):
        return torch.where((f < self.rho) & (f > -2 * self.rho), 0.0, torch.full_like(f, math.inf))
