"""The C++ twin of `sinkhorn`."""

from __future__ import annotations

import torch
from torch import Tensor

from .._load import module
from .._operator import custom_op
from ..bridge import Call, Rule, decode, register_vmap
from ..pairs import broadcast

__all__ = ["sinkhorn_native"]


@custom_op("sinkhorn")
def sinkhorn_native(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    g: Tensor,
    log_a: Tensor,
    log_b: Tensor,
    epsilon: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """f, the new g, and the L1 error of the columns before the update."""
    call = Call(Rule(first, second, kind, p, power), epsilon, [g, log_a, log_b])
    f, f_array = call.output(first.shape[-2], dtype=first.dtype)
    g_new, g_array = call.output(g.shape[-1], dtype=first.dtype)
    error, error_array = call.output(dtype=torch.float64)
    module().sinkhorn(*call.costs, *call.vectors, f_array, g_array, error_array[:, None], torch.get_num_threads())
    return f, g_new, error.to(first.dtype)


@sinkhorn_native.register_fake
def _(
    first: Tensor,
    second: Tensor | None,
    kind: str,
    p: float,
    power: float,
    g: Tensor,
    log_a: Tensor,
    log_b: Tensor,
    epsilon: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    costs = decode(first, second, kind, p, power).batch_shape
    batch = broadcast(costs, g.shape[:-1], log_a.shape[:-1], log_b.shape[:-1], epsilon.shape)
    return first.new_empty(*batch, first.shape[-2]), first.new_empty(*batch, g.shape[-1]), first.new_empty(batch)


register_vmap(sinkhorn_native, (2, 2, None, None, None, 1, 1, 1, 0))
