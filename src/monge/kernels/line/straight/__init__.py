"""Wasserstein distances between measures on the line, many pairs at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ..._extension import reads
from .._rows import Distance, row_problem
from . import native, reference

__all__ = ["line_distance", "line_potentials"]

_DISTANCE = Distance(native.line_distance, reference.line_distance)


@transformable
def line_distance(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    p: float = 2.0,
) -> Float[Tensor, "*b"]:
    r"""The power $W_p^p$ of the Wasserstein distance on the line, for every pair of rows.

    With quantile functions $F^{-1}$ and $G^{-1}$ of the two measures, each scaled to mass one,
    $$W_p^p = \int_0^1 |F^{-1}(t) - G^{-1}(t)|^p \, dt.$$
    Two sorts and one walk along the merged cumulative weights, accumulated in float64. When gradients are wanted they
    come out of the same walk: by the positions through the plan, by the weights through the potentials, centred since
    the masses are scaled. At ties it is a subgradient. Derivatives of any order are those of the definition.

    Args:
        x: Positions of the first measures, in any order.
        y: Positions of the second ones.
        a: Non-negative weights, or None for equal ones. Zero weight is absence.
        b: The same for `y`.
        p: Order, at least 1.

    Returns:
        One number per pair, in the dtype of `x`.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 2.0]])
        >>> line_distance(x, y, p=1.0)
        tensor([2.])
    """
    return _DISTANCE(x, y, a, b, p)


@transformable
@torch.no_grad()
def line_potentials(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    p: float = 2.0,
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
    r"""Kantorovich potentials of `line_distance`, in float64.

    $f_i + g_j \le |x_i - y_j|^p$ with equality on the plan, and $\sum_i a_i f_i = \sum_j b_j g_j$ for weights scaled to
    mass one, so that each is half of $W_p^p$.

    Args:
        x: Positions of the first measures.
        y: Positions of the second ones.
        a: Non-negative weights, or None for equal ones.
        b: The same for `y`.
        p: Order, at least 1.

    Example:
        >>> import torch
        >>> line_potentials(torch.tensor([0.0, 1.0]), torch.tensor([3.0, 2.0]), p=1.0)
        (tensor([1.5000, 0.5000], dtype=torch.float64), tensor([1.5000, 0.5000], dtype=torch.float64))
    """
    problem = row_problem(x, y, a, b)
    if reads(problem.x):
        *_, f, g = native.line_distance(problem, False, True, p)
    else:
        f, g = reference.line_potentials(problem, p)
    share_f, share_g = problem.shares
    shift = ((f * share_f).sum(-1, keepdim=True) - (g * share_g).sum(-1, keepdim=True)) / 2
    return (f - shift).reshape(*problem.batch, f.shape[-1]), (g + shift).reshape(*problem.batch, g.shape[-1])
