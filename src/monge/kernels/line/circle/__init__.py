"""Wasserstein distances between measures on the circle of circumference one, many pairs at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ..._extension import reads
from .._rows import Distance, row_problem
from . import native, reference

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance"]

_SHORTEST = Distance(native.circle_distance, reference.circle_distance)
_LINEAR = Distance(native.linear_circle_distance, reference.linear_circle_distance)


@transformable
def circle_distance(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    p: float = 2.0,
) -> Float[Tensor, "*b"]:
    r"""The power $W_p^p$ of the Wasserstein distance on the circle, for every pair of rows; exact.

    Lifted to the line with period one,
    $$W_p^p = \min_\theta \int_0^1 |F^{-1}(t) - G^{-1}(t + \theta)|^p \, dt,$$
    a convex, piecewise linear function of $\theta$ whose minimum is found by tangents from both sides. The gradient
    treats $\theta$ as constant (envelope theorem); by the weights it is a pair of potentials that closes up after one
    turn.

    Args:
        x: Positions in turns; only their fractional part counts.
        y: Positions of the second measures.
        a: Non-negative weights, or None for equal ones; scaled to mass one.
        b: The same for `y`.
        p: Order, at least 1.

    Returns:
        One number per pair, at most $2^{-p}$.

    Source:
        Delon, Salomon, Sobolevski, Fast transport optimization for Monge costs on the circle (arXiv 0902.3527).

    Example:
        >>> import torch
        >>> x = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
        >>> y = torch.tensor([0.4, 0.5, 0.7], dtype=torch.float64)
        >>> round(float(circle_distance(x, y, p=2.0)), 6)
        0.016667
    """
    return _SHORTEST(x, y, a, b, p)


@transformable
def linear_circle_distance(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    p: float = 2.0,
) -> Float[Tensor, "*b"]:
    r"""The power of the linear circular transport distance, for every pair of rows; exact, without a grid.

    The shift of `circle_distance` is not searched for but fixed by the two means $E = \sum_i a_i x_i$ of the
    positions in $[0, 1)$, which is the optimal one towards the uniform measure:
    $$\mathrm{LCOT}_p^p = \int_0^1 |F^{-1}(t) - G^{-1}(t + E_\mu - E_\nu)|_w^p \, dt, \qquad |u|_w = \min_k |u + k|.$$
    Never less than $W_p^p$; a metric for $p = 2$ that does not depend on where the circle is cut. The gradient follows
    the positions, the weights and the shift that both imply.

    Args:
        x: Positions in turns; only their fractional part counts.
        y: Positions of the second measures.
        a: Non-negative weights, or None for equal ones; scaled to mass one.
        b: The same for `y`.
        p: Order, at least 1.

    Returns:
        One number per pair.

    Source:
        Martin, Medri, Bai, Liu, Yan, Rohde, Kolouri, LCOT: Linear circular optimal transport (arXiv 2310.06002).

    Example:
        >>> import torch
        >>> x = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
        >>> y = torch.tensor([0.4, 0.5, 0.7], dtype=torch.float64)
        >>> round(float(linear_circle_distance(x, y)), 6)
        0.026667
    """
    return _LINEAR(x, y, a, b, p)


@transformable
@torch.no_grad()
def circle_shift(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    p: float = 2.0,
) -> Float[Tensor, "*b"]:
    r"""The shift $\theta$ of the target's quantile function at which `circle_distance` is attained, in float64.

    Example:
        >>> import torch
        >>> x = torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
        >>> round(float(circle_shift(x, x.roll(1) + 0.01)), 6) % 1
        0.0
    """
    problem = row_problem(x, y, a, b)
    twin = native if reads(problem.x) else reference
    return twin.circle_shift(problem, p).reshape(problem.batch)
