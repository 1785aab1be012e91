"""Partial transport between positions on one line or circle: its cost and its plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._users_arrays import takes_arrays
from monge.coupling import MonotoneCoupling

from .._aligned_clouds import Clouds, on_a_line
from .problem import Amount, Partial, period_of

__all__ = ["circular_partial_cost", "circular_partial_plan", "partial_cost", "partial_plan"]


@takes_arrays
def partial_cost(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: Amount = None,
    mass: Amount | str = None,
    p: float = 2.0,
) -> Float[Tensor, "*b"]:
    r"""The cost of moving a part of one measure on the line to a part of another; exact, batched, differentiable.

    With a penalty $\lambda$ per unit of mass left on each side,
    $$\min_{\gamma 1 \le a,\; \gamma^\top 1 \le b} \sum_{ij} |x_i - y_j|^p \gamma_{ij}
    + \lambda \big(|a| + |b| - 2 |\gamma|\big),$$
    so that a pair is matched if it costs less than $2\lambda$, and an outlier costs $\lambda$. With a mass, the cost is
    the sum alone, under the condition $|\gamma| = s$. Masses are used as they are, and not scaled to one. The cost has
    gradients by positions, by masses, and by the penalty (this is the mass left behind) or the mass to move (this is
    the marginal cost).

    Args:
        x: Positions of the sources.
        y: Positions of the targets.
        a: Non-negative masses of the sources; None is one each. A point of mass zero is absent.
        b: The same for `y`.
        penalty: Price of leaving a unit of mass, on either side: a number, or one per problem.
        mass: The mass to move instead: a number, one per problem, or ``"knee"``, which moves pairs as long as they cost
            no more than the mean of all pairs that could be moved. Without penalty and mass, all mass of the smaller
            side is moved.
        p: Order, at least 1.

    Raises:
        InputError: Both a penalty and a mass.
        InfeasibleError: More mass than a side has.

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049).

    Example:
        >>> import torch
        >>> from monge.sliced import partial_cost
        >>> x, y = torch.tensor([0.0, 1.0, 2.0, 7.0]), torch.tensor([0.4, 1.1, 9.0])
        >>> partial_cost(x, y, penalty=0.5)  # two pairs, and three atoms left at 0.5 each
        tensor(1.6700)
        >>> partial_cost(x, y, mass=1.5)
        tensor(0.0900)
    """
    return _solved(kernels.partial_cost, Partial(penalty, mass, p), (x, y, a, b))


@takes_arrays
def circular_partial_cost(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: Amount = None,
    mass: Amount | str = None,
    p: float = 1.0,
    circumference: float = 1.0,
) -> Float[Tensor, "*b"]:
    """The cost of moving a part of one measure on a circle to a part of another; exact.

    With equal masses and p = 1 it takes $O(N log N)$; all other cases are linear programs with n m numbers.

    Args:
        x: Positions of the sources, in units of the circumference; any real number, wrapped.
        y: Positions of the targets.
        a: Non-negative masses of the sources; None is one each.
        b: The same for `y`.
        penalty: Price of leaving a unit of mass, on either side.
        mass: How much to move instead, see `partial_cost`.
        p: Order, at least 1.
        circumference: Length of the circle; 2 pi for angles.

    Source:
        Kolouri, PAWC: Efficient computation of partial Wasserstein distances on the circle (2026).

    Example:
        >>> import torch
        >>> from monge.sliced.partial import circular_partial_cost
        >>> circular_partial_cost(torch.tensor([0.05, 0.5]), torch.tensor([0.95]))  # across the cut
        tensor(0.1000)
    """
    return _solved(kernels.partial_cost, Partial(penalty, mass, p), (x, y, a, b), circumference)


@takes_arrays
def partial_plan(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    mass: Amount | str = None,
    penalty: Amount = None,
    p: float = 2.0,
) -> MonotoneCoupling:
    """The optimal plan of `partial_cost`: the points that are matched, in their order on the line.

    Args:
        x: Positions of the sources.
        y: Positions of the targets.
        a: Non-negative masses of the sources; None is one each.
        b: The same for `y`.
        mass: How much to move, see `partial_cost`.
        penalty: Price of leaving a unit of mass instead, on either side.
        p: Order, at least 1.

    Example:
        >>> import torch
        >>> from monge.sliced.partial import partial_plan
        >>> plan = partial_plan(torch.tensor([0.0, 9.0, 1.0]), torch.tensor([1.1, 0.2]), penalty=1.0)
        >>> plan.i, plan.j
        (tensor([0, 2]), tensor([1, 0]))
    """
    return _solved(_plan, Partial(penalty, mass, p), (x, y, a, b))


@takes_arrays
def circular_partial_plan(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    mass: Amount | str = None,
    penalty: Amount = None,
    p: float = 1.0,
    circumference: float = 1.0,
) -> MonotoneCoupling:
    """The optimal plan of `circular_partial_cost`.

    Args:
        x: Positions of the sources, in units of the circumference; any real number, wrapped.
        y: Positions of the targets.
        a: Non-negative masses of the sources; None is one each.
        b: The same for `y`.
        mass: How much to move, see `partial_cost`.
        penalty: Price of leaving a unit of mass instead, on either side.
        p: Order, at least 1.
        circumference: Length of the circle; 2 pi for angles.

    Example:
        >>> import torch
        >>> from monge.sliced.partial import circular_partial_plan
        >>> circular_partial_plan(torch.tensor([0.5, 0.05]), torch.tensor([0.95]), penalty=0.1).dense()
        tensor([[0.],
                [1.]])
    """
    return _solved(_plan, Partial(penalty, mass, p), (x, y, a, b), circumference)


def _solved(
    kernel: Callable[..., Any],
    problem: Partial,
    given: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    circumference: float | None = None,
) -> Any:
    """What a kernel says about positions on a circle, or on a line if there is no circumference."""
    period = period_of(circumference)
    on_a_line(*given, masses=True)
    return problem._by(kernel, Clouds(*given), period)


def _plan(x: Tensor, y: Tensor, *masses: Tensor | None, **settings: Any) -> MonotoneCoupling:
    found = kernels.partial_plan(x, y, *masses, **settings)
    held = (found.w > 0).sum(-1)
    used = int(held.max()) if held.numel() else 0
    i, j, w = (part[..., :used] for part in found[:3])
    return MonotoneCoupling._make(i=i, j=j, w=w.to(x.dtype), n=x.shape[-1], m=y.shape[-1])
