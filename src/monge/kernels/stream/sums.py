"""What exponentials of scores add up to: soft minima of rows, products with a plan, an iteration of Sinkhorn."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_device
from monge._transforms import transformable
from monge.errors import ShapeError

from ._native_call import served
from .native import apply_native, attend_native, sinkhorn_native, softmin_native
from .pairs import Pairs
from .reference import apply_reference, sinkhorn_reference, softmin_reference
from .scores import check_side

__all__ = ["apply", "sinkhorn", "softmin"]


@transformable
def softmin(pairs: Pairs, bias: Float[Tensor, "*#b m"], epsilon: float | Tensor) -> Float[Tensor, "*b n"]:
    """The soft minimum of every row of a cost, streamed: f_i = -eps log sum_j exp(bias_j - C_ij / eps).

    With bias = g / eps + log b it is the entropic c-transform of the potential g. The memory is that of a
    block of rows, in every derivative.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        bias: One number for each column; -inf marks an absent column.
        epsilon: The temperature, positive: a float, or a tensor that broadcasts to the batch.

    Returns:
        The soft minima, in the dtype of the inputs and at least in float32. A row with nothing left gives
        +inf. Gradients flow to the points or the cost, to ``bias`` and to ``epsilon``.

    Raises:
        ShapeError, DtypeError, DeviceError: If bias does not fit the costs.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> softmin(Points(x, y), torch.zeros(1), epsilon=0.1)
        tensor([25.])
    """
    check_side("bias", bias, pairs, "column")
    return served(softmin_native, softmin_reference, pairs, bias, epsilon=epsilon)


@transformable
def apply(
    pairs: Pairs,
    row: Float[Tensor, "*#b n"] | None,
    col: Float[Tensor, "*#b m"],
    v: Float[Tensor, "*#b m k"],
    epsilon: float | Tensor,
) -> Float[Tensor, "*b n k"]:
    """The product P v, streamed: sum_j exp(row_i + col_j - C_ij / eps) v_jk.

    With row = f / eps + log a and col = g / eps + log b it applies an entropic plan. Without ``row`` every
    row is normalised to sum to one, so that the result is a barycentre, or attention.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        row: One number for each row, -inf if absent; None normalises the rows.
        col: One number for each column, -inf if absent.
        v: The values, one row for each column of the costs.
        epsilon: The temperature, positive: a float, or a tensor that broadcasts to the batch.

    Returns:
        The products, in the common dtype of costs and values. A row with nothing left gives zero. Gradients
        flow to the points or the cost, to ``row``, ``col``, ``v`` and ``epsilon``.

    Raises:
        ShapeError, DtypeError, DeviceError: If row, col or v do not fit the costs.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> x, y = torch.zeros(1, 1), torch.tensor([[-1.0], [1.0]])
        >>> apply(Points(x, y), None, torch.zeros(2), torch.tensor([[2.0], [4.0]]), epsilon=1.0)
        tensor([[3.]])
    """
    check_side("col", col, pairs, "column")
    if row is not None:
        check_side("row", row, pairs, "row")
    if v.ndim < 2 or v.shape[-2] != pairs.shape[1]:
        raise ShapeError(
            f"v must have shape (*batch, m, k) with one row for each of the {pairs.shape[1]} columns, but "
            f"has {tuple(v.shape)}; for a vector use v[:, None]."
        )
    check_device(v=v, costs=pairs)
    native = _attend if row is None else apply_native
    out = served(native, apply_reference, pairs, row, col, v, epsilon=epsilon)
    return out.to(torch.promote_types(pairs.dtype, v.dtype))


def _attend(*given: Any) -> Tensor:
    """Without the soft minima of the rows, which only the derivative needs."""
    return attend_native(*given)[0]


@transformable
@torch.no_grad()
def sinkhorn(
    pairs: Pairs,
    g: Float[Tensor, "*#b m"],
    log_a: Float[Tensor, "*#b n"],
    log_b: Float[Tensor, "*#b m"],
    epsilon: float | Tensor,
) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"], Float[Tensor, "*b"]]:
    """Both half-steps of a Sinkhorn iteration, in one pass and with one exponential an entry.

    f_i = -eps log sum_j b_j exp((g_j - C_ij) / eps), then g_new_j = -eps log sum_i a_i exp((f_i - C_ij)/eps).

    The terms of f_i, divided by their sum and multiplied by a_i, are the i-th row of the plan of (f, g). They
    are added to the column sums before the next row is read, and g_new_j = g_j - eps log(column sum_j / b_j).
    Columns whose sum is too small for its digits to be trusted are computed from f in the log domain.

    Args:
        pairs: The costs, `Points` or `Matrix`; +inf in a matrix forbids a pair.
        g: The potential of the columns.
        log_a: Log weights of the rows, -inf where absent; such a row still gets its potential.
        log_b: Log weights of the columns, -inf where absent; such a column still gets its potential.
        epsilon: The temperature, positive: a float, or a tensor that broadcasts to the batch.

    Returns:
        f, g_new, and the L1 error sum_j |column sum_j - b_j| of the plan of (f, g) before g is new.
        There is no gradient. Rows and columns that nothing reaches have potential +inf.

    Raises:
        ShapeError, DtypeError, DeviceError: If the vectors do not fit the costs.
        InputError: If epsilon is a float and not positive.

    Example:
        >>> import torch
        >>> cost, log_a = torch.zeros(2, 2), torch.full((2,), 0.5).log()
        >>> f, g, error = sinkhorn(Matrix(cost), torch.zeros(2), log_a, log_a, epsilon=1.0)
        >>> round(float(error), 6)
        0.0
    """
    check_side("g", g, pairs, "column")
    check_side("log_a", log_a, pairs, "row")
    check_side("log_b", log_b, pairs, "column")
    f, g_new, error = served(sinkhorn_native, sinkhorn_reference, pairs, g, log_a, log_b, epsilon=epsilon)
    return f, g_new, error.to(f.dtype)
