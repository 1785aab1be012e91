"""Problems with every kind of marginal, for the tests of all solvers."""

from __future__ import annotations

import torch

from monge.geometry import PointCloud
from monge.problem import AtMost, Fixed, Free, Relaxed

D = torch.float64

# Sides and mass, from two sets of weights.
PROBLEMS = {
    "balanced": lambda a, b: (Fixed(a), Fixed(b), None),
    "kl": lambda a, b: (Relaxed(a, 0.4), Relaxed(1.7 * b, 0.4), None),
    "kl-uneven": lambda a, b: (Relaxed(a, 0.4), Relaxed(1.7 * b, 5.0), None),
    "kl-strong": lambda a, b: (Relaxed(a, 300.0), Relaxed(1.7 * b, 300.0), None),
    "kl-fixed": lambda a, b: (Relaxed(a, 0.4), Fixed(1.7 * b), None),
    "l2": lambda a, b: (Relaxed(a, 2.0, "l2"), Relaxed(1.7 * b, 2.0, "l2"), None),
    "tv": lambda a, b: (Relaxed(a, 0.3, "tv"), Relaxed(1.7 * b, 0.3, "tv"), None),
    "semi-relaxed": lambda a, b: (Fixed(a), Free(b), None),
    "one-sided": lambda a, b: (AtMost(a), Fixed(0.6 * b), None),
    "partial": lambda a, b: (AtMost(a), AtMost(1.2 * b), 0.55),
    "partial-all": lambda a, b: (AtMost(a), AtMost(b), 1.0),
    "mixed": lambda a, b: (Relaxed(a, 0.4), Relaxed(1.7 * b, 0.3, "tv"), None),
}


def weights(*shape):
    a = torch.rand(*shape, dtype=D) + 0.05
    return a / a.sum(-1, keepdim=True)


def clouds(n, m, d, dtype=D):
    x = torch.randn(n, d, dtype=D)
    y = 1.2 * torch.randn(m, d, dtype=D) + 0.5 / d**0.5
    return PointCloud(x.to(dtype), y.to(dtype))
