"""Small problems with answers that need no solver: what ``monge doctor`` runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from monge.api import couple, divergence
from monge.geometry import PointCloud
from monge.kernels import Points, softmin
from monge.testing import Answered, dirac, permuted, quantiles, spread, translated

__all__ = ["CHECKS"]


def _answered(make: Callable[..., Answered], *sizes: int) -> tuple[float, float]:
    """The plan and its cost are those of a closed form."""
    known = make(*sizes, generator=torch.Generator().manual_seed(0))
    plan = couple(known.x, known.y, known.a, known.b)
    missed = (plan.dense() - known.coupling.dense()).abs().max()
    return max(float(missed), abs(float(plan.transport_cost() - known.value))), 1e-9


def _clouds(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator, dtype=dtype)
    return x, torch.randn(230, 3, generator=generator, dtype=dtype) + 1


def _divergence() -> tuple[float, float]:
    """The debiased divergence of a cloud and its translate is the squared shift, whose gradient is twice the shift."""
    x, _ = _clouds()
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=x.dtype, requires_grad=True)
    found = divergence(x, x + shift, epsilon=0.5)
    (gradient,) = torch.autograd.grad(found, shift)
    with torch.no_grad():
        return max(float((found - 9).abs()), float((gradient - 2 * shift).abs().max())), 1e-4


def _marginals() -> tuple[float, float]:
    """An entropic plan has the marginals that it was asked for."""
    x, y = _clouds()
    row, column = couple(x, y, epsilon=0.1).marginals()
    return float((row - 1 / len(x)).abs().sum() + (column - 1 / len(y)).abs().sum()), 1e-5


def _streaming() -> tuple[float, float]:
    """A plan applied block by block is the matrix applied."""
    x, y = _clouds()
    plan = couple(x, y, epsilon=0.1)
    return float((plan @ y - plan.dense() @ y).abs().max()), 1e-12


def _softmin() -> tuple[float, float]:
    """The streamed log-sum-exp is that of the matrix of costs, in single precision."""
    x, y = _clouds(torch.float32)
    expected = -0.5 * torch.logsumexp(-2 * PointCloud(x.double(), y.double()).dense(), -1)
    return float((softmin(Points(x, y), x.new_zeros(len(y)), 0.5) - expected).abs().max()), 1e-4


CHECKS: dict[str, Callable[[], tuple[float, float]]] = {
    "two points": partial(_answered, dirac),
    "a point and a cloud": partial(_answered, spread, 200),
    "a translation": partial(_answered, translated, 200, 3),
    "sorting on the line": partial(_answered, quantiles, 200, 230),
    "a shuffled cloud": partial(_answered, permuted, 200, 3),
    "debiased divergence": _divergence,
    "marginals": _marginals,
    "streamed product": _streaming,
    "streamed softmin": _softmin,
}
"""What is checked, each answering with its error and with what is allowed."""
