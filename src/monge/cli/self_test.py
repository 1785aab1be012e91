"""Small problems with answers that need no solver: what ``monge doctor`` runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from monge.api import couple, divergence, wasserstein
from monge.geometry import PointCloud
from monge.kernels import Points, softmin

__all__ = ["CHECKS"]

Check = Callable[[], tuple[float, float]]


def _clouds(n: int = 200, m: int = 230, d: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    return x, torch.randn(m, d, generator=generator, dtype=dtype) + 1


def _diracs() -> tuple[float, float]:
    """Between two points there is one plan."""
    x, y = torch.tensor([[0.0, 0.0]]).double(), torch.tensor([[3.0, 4.0]]).double()
    return abs(float(wasserstein(x, y)) - 5), 1e-12


def _translation() -> tuple[float, float]:
    """A cloud and its translate are at the distance of the translation, exactly."""
    x, _ = _clouds()
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=x.dtype)
    return abs(float(wasserstein(x, x + shift)) - 3), 1e-9


def _line() -> tuple[float, float]:
    """On the line, the distance is that of sorted points."""
    x, y = (cloud[:200, :1] for cloud in _clouds())
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt()
    return abs(float(wasserstein(x, y) - expected)), 1e-9


def _permutation() -> tuple[float, float]:
    """The plan from a cloud to the same cloud, shuffled, undoes the shuffling."""
    x, _ = _clouds()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    return float((couple(x, x[order]).assignment() != order.argsort()).sum()), 0.0


def _divergence() -> tuple[float, float]:
    """The debiased divergence of a cloud and its translate is the squared translation, for every epsilon."""
    x, _ = _clouds()
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=x.dtype)
    return abs(float(divergence(x, x + shift, epsilon=0.5)) - 9), 1e-4


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
    x, y = _clouds(dtype=torch.float32)
    expected = -0.5 * torch.logsumexp(-2 * PointCloud(x.double(), y.double()).dense(), -1)
    return float((softmin(Points(x, y), x.new_zeros(len(y)), 0.5) - expected).abs().max()), 1e-4


def _gradient() -> tuple[float, float]:
    """Moving a whole cloud away changes the squared distance by twice the translation."""
    x, _ = _clouds()
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=x.dtype, requires_grad=True)
    divergence(x, x + shift, epsilon=0.5).backward()
    assert shift.grad is not None
    return float((shift.grad - 2 * shift.detach()).abs().max()), 1e-4


CHECKS: dict[str, Check] = {
    "two points": _diracs,
    "a translation": _translation,
    "sorting on the line": _line,
    "a shuffled cloud": _permutation,
    "debiased divergence": _divergence,
    "marginals": _marginals,
    "streamed product": _streaming,
    "streamed softmin": _softmin,
    "gradient": _gradient,
}
