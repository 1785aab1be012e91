"""One Sinkhorn iteration in one pass over the costs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._transforms import transformable

from ._native_call import Cost, native_dtype
from .native import sinkhorn_native
from .pairs import Pairs
from .reference import sinkhorn_reference
from .scores import check_columns, check_rows, epsilon_of

__all__ = ["sinkhorn"]


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
    check_columns("g", g, pairs)
    check_rows("log_a", log_a, pairs)
    check_columns("log_b", log_b, pairs)
    dtype = native_dtype(pairs, g, log_a, log_b)
    if dtype is None:
        return sinkhorn_reference(pairs, g, log_a, log_b, epsilon)
    vectors = (vector.to(dtype) for vector in (g, log_a, log_b))
    f, g_new, error = sinkhorn_native(*Cost.of(pairs, dtype), *vectors, epsilon_of(epsilon, g, dtype))
    return f, g_new, error.squeeze(-1).to(dtype)
