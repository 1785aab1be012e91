"""Wasserstein distances between measures on the circle of circumference one, many pairs at a time."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..._transforms import transformable
from .._rows import in_range, priced, row_problem
from . import native, reference

__all__ = ["circle_distance", "circle_shift", "linear_circle_distance"]


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
    problem = row_problem(x, y, a, b)
    if problem.plain and native.AVAILABLE:
        cost = priced(partial(native.circle_distance, p=p), problem, partial(reference.circle_distance, p=p))
    else:
        cost = reference.circle_distance(problem, p)
    cost = in_range(cost.to(x.dtype), problem, p, partial(reference.circle_distance, p=1.0))
    return cost.reshape(problem.batch)


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
    problem = row_problem(x, y, a, b)
    if problem.plain and native.AVAILABLE:
        definition = partial(reference.linear_circle_distance, p=p)
        cost = priced(partial(native.linear_circle_distance, p=p), problem, definition)
    else:
        cost = reference.linear_circle_distance(problem, p)
    cost = in_range(cost.to(x.dtype), problem, p, partial(reference.linear_circle_distance, p=1.0))
    return cost.reshape(problem.batch)


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
    if problem.plain and native.AVAILABLE:
        return native.circle_shift(problem, p).reshape(problem.batch)
    return reference.circle_shift(problem, p).reshape(problem.batch)
