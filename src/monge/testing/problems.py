"""Problems with answers known in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._value import Value, value
from monge.coupling import Coupling, PermutationCoupling, ProductCoupling, SparseCoupling

from ._numbers import merged

__all__ = ["Answered", "dirac", "gaussians", "permuted", "quantiles", "spread", "translated"]


@value
class Answered(Value):
    """A transport problem between two clouds with squared Euclidean cost, and its answer.

    Args:
        x: Source points.
        y: Target points.
        a: Source weights, of mass one.
        b: Target weights, of mass one.
        coupling: An optimal plan.
        value: Its cost, by a formula that does not use the plan.
    """

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "m d"]
    a: Float[Tensor, " n"]
    b: Float[Tensor, " m"]
    coupling: Coupling
    value: Float[Tensor, ""]


def _normal(*shape: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _uniform(n: int) -> Tensor:
    return torch.full((n,), 1.0 / n, dtype=torch.float64)


def _weights(n: int, *, generator: torch.Generator | None) -> Tensor:
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    return weights / weights.sum()


def dirac(d: int = 2, *, generator: torch.Generator | None = None) -> Answered:
    """Transport from one point to one point: the cost is their squared distance.

    Args:
        d: Dimension.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import dirac
        >>> dirac(3).coupling.dense()
        tensor([[1.]], dtype=torch.float64)
    """
    x, y, one = _normal(1, d, generator=generator), _normal(1, d, generator=generator), _uniform(1)
    return Answered(x, y, one, one, ProductCoupling(one, one), (x - y).square().sum())


def spread(n: int = 5, d: int = 2, *, generator: torch.Generator | None = None) -> Answered:
    """Transport from one point to a weighted cloud: the only plan is the product; it costs |x - mean|^2 plus variance.

    Args:
        n: How many target points.
        d: Dimension.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import spread
        >>> spread(5).coupling.shape
        torch.Size([1, 5])
    """
    x, y, one = _normal(1, d, generator=generator), _normal(n, d, generator=generator), _uniform(1)
    b = _weights(n, generator=generator)
    mean = b @ y
    variance = b @ (y - mean).square().sum(-1)
    return Answered(x, y, one, b, ProductCoupling(one, b), (x[0] - mean).square().sum() + variance)


def translated(n: int = 7, d: int = 2, *, generator: torch.Generator | None = None) -> Answered:
    """A cloud and its translate: to move every point by t is optimal, by Jensen's inequality, and costs |t|^2.

    Args:
        n: How many points.
        d: Dimension.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import translated
        >>> translated(4).coupling.assignment()
        tensor([0, 1, 2, 3])
    """
    x, t = _normal(n, d, generator=generator), _normal(d, generator=generator)
    a = _uniform(n)
    return Answered(x, x + t, a, a, PermutationCoupling(torch.arange(n), a), t.square().sum())


def permuted(n: int = 7, d: int = 2, *, generator: torch.Generator | None = None) -> Answered:
    """A cloud in another order, every point moved by a quarter of the least distance.

    The nearest target of each point is its own image. So the permutation is optimal, and every point costs the same.

    Args:
        n: How many points.
        d: Dimension.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import permuted
        >>> permuted(4).coupling.shape
        torch.Size([4, 4])
    """
    x, perm = _normal(n, d, generator=generator), torch.randperm(n, generator=generator)
    far = torch.cdist(x, x) + torch.diag(torch.full((n,), torch.inf, dtype=torch.float64))
    step = float(far.min()) / 4 if n > 1 else 1.0
    direction = torch.nn.functional.normalize(_normal(n, d, generator=generator), dim=-1)
    y = torch.empty_like(x)
    y[perm] = x + step * direction
    a = _uniform(n)
    return Answered(x, y, a, a, PermutationCoupling(perm, a), torch.tensor(step**2, dtype=torch.float64))


def gaussians(n: int = 30, d: int = 3, *, generator: torch.Generator | None = None) -> Answered:
    r"""Two clouds with given means and covariances, the second the image of the first by the map between Gaussians.

    The map $m_2 + A(x - m_1)$ with $A = S_1^{-1/2}(S_1^{1/2} S_2 S_1^{1/2})^{1/2} S_1^{-1/2}$ is the gradient of a
    convex function, so that it is optimal between any cloud and its image. The first cloud has mean and covariance
    exactly, so that the cost is that of Bures:
    $|m_1 - m_2|^2 + \mathrm{tr}(S_1 + S_2 - 2 (S_1^{1/2} S_2 S_1^{1/2})^{1/2})$.

    Args:
        n: How many points, more than d.
        d: Dimension.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import gaussians
        >>> problem = gaussians(20, 2)
        >>> bool((problem.value - (problem.x - problem.y).square().sum(-1).mean()).abs() < 1e-9)
        True
    """
    means = _normal(2, d, generator=generator)
    roots = _normal(2, d, d, generator=generator)
    first, second = roots @ roots.mT / d + 0.1 * torch.eye(d, dtype=torch.float64)
    half = _matrix_root(first)
    inner = _matrix_root(half @ second @ half)
    white = _normal(n, d, generator=generator)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(_matrix_root(white.mT @ white / n))
    x = white @ half
    back = torch.linalg.inv(half)
    y = x @ (back @ inner @ back)
    bures = (means[0] - means[1]).square().sum() + torch.trace(first + second - 2 * inner)
    a = _uniform(n)
    return Answered(x + means[0], y + means[1], a, a, PermutationCoupling(torch.arange(n), a), bures)


def quantiles(n: int = 6, m: int = 4, *, generator: torch.Generator | None = None) -> Answered:
    r"""Weighted points on a line: the plan that follows both orders, $\int_0^1 |F^{-1}(t) - G^{-1}(t)|^2 dt$.

    Args:
        n: How many source points.
        m: How many target points.
        generator: Source of randomness.

    Example:
        >>> from monge.testing import quantiles
        >>> quantiles(3, 2).coupling.w.shape
        torch.Size([5])
    """
    x, y = _normal(n, 1, generator=generator), _normal(m, 1, generator=generator)
    a, b = _weights(n, generator=generator), _weights(m, generator=generator)
    (u, rows), (v, columns) = x[:, 0].sort(), y[:, 0].sort()
    i, j, w = merged(a[rows], b[columns])
    plan = SparseCoupling(rows[i], columns[j], w, n, m)
    return Answered(x, y, a, b, plan, (w * (u[i] - v[j]).square()).sum())


def _matrix_root(S: Tensor) -> Tensor:
    """The square root of a positive matrix."""
    values, vectors = torch.linalg.eigh(S)
    return vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.mT
