"""Whether the costs of finite points are finite numbers too."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monge._arrays import is_mapped, working_dtype
from monge.errors import InputError


def log_largest(tensor: Tensor) -> float:
    """The logarithm of the largest absolute entry, -inf if all are zero or there is none."""
    low, high = map(float, tensor.detach().aminmax()) if tensor.numel() else (0.0, 0.0)
    size = max(-low, high)
    return math.log(size) if size > 0 else -math.inf


def log_reach(x: Tensor, y: Tensor, order: float) -> Tensor:
    """The logarithm of a bound of all distances between the points of two clouds, per problem of a batch.

    It is -inf only if all points coincide. Where clouds lie does not matter, only how far they are spread.
    """
    # Halves, since the difference of two finite numbers need not be finite.
    (low_x, high_x), (low_y, high_y) = (torch.aminmax(points.detach() / 2, dim=-2) for points in (x, y))
    apart = torch.maximum(high_x - low_y, high_y - low_x).double().clamp_min(0)
    widest = apart.amax(-1, keepdim=True)
    spread = (apart / widest.masked_fill(widest == 0, 1)).norm(p=order, dim=-1)
    return math.log(2) + widest[..., 0].log() + spread.masked_fill(widest[..., 0] == 0, 1).log()


def check_range(log_cost: float, dtype: torch.dtype) -> None:
    """Costs of finite points must be finite: an overflow would forbid pairs that are allowed.

    Args:
        log_cost: The logarithm of a bound of the costs, and of the numbers on the way to them.
        dtype: That of the points; half precision is computed in float32.
    """
    dtype = working_dtype(dtype)
    largest = torch.finfo(dtype).max
    if log_cost > math.log(largest):
        raise InputError(
            f"The costs of these points may reach 1e{log_cost / math.log(10):.0f}, more than "
            f"{str(dtype).removeprefix('torch.')} holds ({largest:.1e}): divide the points by a length, lower the "
            f"power, or use float64."
        )


def check_products(x: Tensor, y: Tensor) -> None:
    """The products of points of two clouds must stay in the range of numbers."""
    check_range(log_largest(x) + log_largest(y) + math.log(x.shape[-1]), x.dtype)


def check_distances(x: Tensor, y: Tensor, order: float, power: float) -> None:
    """The powers of distances, and the sums of powers that distances are roots of, must stay in the range of numbers.

    Args:
        x: Points of the rows.
        y: Points of the columns.
        order: Of the norm.
        power: Of the distance.
    """
    if is_mapped() or x.numel() == 0 or y.numel() == 0:
        return
    inner = 1.0 if order == math.inf else order
    steepest = max(power, inner)
    finite = torch.finfo(working_dtype(x))
    size = max(log_largest(x), log_largest(y))
    rough = size + math.log(2) + math.log(x.shape[-1]) / order
    low = math.log(finite.tiny) / 2 / inner
    if steepest * max(rough, 0.0) <= math.log(finite.max) and size >= low:
        return
    reach = log_reach(x, y, order)
    check_range(steepest * float(reach.amax()), x.dtype)
    lost = (inner * reach < math.log(finite.tiny)) & (reach > -math.inf)
    if power < inner and bool(lost.any()):
        raise InputError(
            f"The distances of these points are at most 1e{float(reach[lost].amin()) / math.log(10):.0f}, and so small "
            f"that the powers of order {inner:g}, from which they are computed, are zero in "
            f"{str(x.dtype).removeprefix('torch.')}: multiply the points by a number, or use float64."
        )
