"""A sequence that is sharded over processes: the sums that pivot attention needs over all shards.

Every process holds some of the tokens and all of the parameters, and computes its own part of a loss that is the sum of
all parts. What is summed in the forward pass has its cotangents summed in the backward pass, so that the gradient of a
token is complete where the token is, and that of a parameter is a part, to be summed over the processes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor

from ._padding import uniform


def add_up(numbers: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The differentiable sum over the shards of a group; one shard that is all of it without a group."""
    return numbers if group is None else _Sum.apply(numbers, group)


def logsumexp(scores: Tensor, dim: int, group: dist.ProcessGroup | None) -> Tensor:
    """Log-sum-exp of the scores of all shards; finite, and of no meaning, where every score is -inf."""
    most = scores.detach().amax(dim, keepdim=True)
    if group is not None:
        dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
    most = most.masked_fill(most == -math.inf, 0.0)
    mass = add_up(torch.exp(scores - most).sum(dim), group)
    return most.squeeze(dim) + mass.clamp_min(torch.finfo(mass.dtype).tiny).log()


def uniform_over(
    points: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*#b n"] | None, group: dist.ProcessGroup | None
) -> Float[Tensor, "*b n"]:
    """Mass one spread over the points of all shards that are present; the weights of this shard."""
    weights = uniform(points, padding)
    if group is None:
        return weights
    present = (weights > 0).to(weights.dtype)
    return present / add_up(present.sum(-1, keepdim=True), group).clamp_min(1)


class _Sum(torch.autograd.Function):
    """The sum over a group, whose cotangents are summed over the group."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        out = numbers.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(cotangent, ctx.group), None
