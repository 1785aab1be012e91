"""One side of pivot attention in plain torch: tokens packed into pivots, unpacked again, and the derivative of both.

A side is a set of tokens x with their soft assignment to r pivots, σ = softmax_t(x z_t + β_t). Tensors have one
leading dimension. The assignment is handed from forward to backward, which costs n r numbers and no recomputation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .mixing import mix, mix_gradient

__all__ = ["Side", "assign", "gradient", "mix", "mix_gradient", "pack", "unpack"]


class Side(NamedTuple):
    """The tokens of one side and what assigns them to pivots; without pivots, x holds the scores already."""

    x: Float[Tensor, "*b n d"]
    pivots: Float[Tensor, "*#b r d"] | None
    bias: Float[Tensor, "*#b r"]
    unpadded: Float[Tensor, "*#b n"] | None = None


def assign(
    x: Float[Tensor, "*b n d"],
    pivots: Float[Tensor, "*#b r d"] | None,
    bias: Float[Tensor, "*#b r"],
    unpadded: Float[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n r"]:
    """Soft assignment of every token to the pivots; rows with ``unpadded`` zero are zero."""
    scores = x if pivots is None else x.to(pivots.dtype) @ pivots.mT
    share = torch.softmax(scores + bias[..., None, :], -1)
    return share if unpadded is None else share * unpadded[..., None]


def pack(
    side: Side, y: Float[Tensor, "b n c"] | None, share: Float[Tensor, "b n r"] | None = None
) -> tuple[Float[Tensor, "b n r"], Float[Tensor, "b r"], Float[Tensor, "b r c"] | None]:
    """The assignment, the total of every pivot in it, and the sums of ``y`` at every pivot, σ^T y."""
    if share is None:
        x, pivots, bias = side.x, side.pivots, side.bias[:, None]
        share = torch.softmax(x + bias if pivots is None else torch.baddbmm(bias, x, pivots.mT), -1)
        share = share if side.unpadded is None else share * side.unpadded[..., None]
    return share, share.sum(1), None if y is None else torch.bmm(share.mT, y)


def unpack(side: Side, table: Float[Tensor, "b r c"], share: Float[Tensor, "b n r"]) -> Float[Tensor, "b n c"]:
    """What every token reads from a table with one row per pivot, σ T."""
    del side
    return torch.bmm(share, table)


def gradient(
    side: Side,
    y: Float[Tensor, "b n c"] | None,
    table: Float[Tensor, "b r c"] | None,
    d_use: Float[Tensor, "b r"],
    share: Float[Tensor, "b n r"],
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b r d"] | None, Float[Tensor, "b r"]]:
    """Derivatives of ⟨σ T, y⟩ + ⟨total of σ, d_use⟩ along tokens, pivots and bias."""
    shift = d_use[:, None]
    d_score = shift.expand_as(share) if y is None or table is None else torch.baddbmm(shift, y, table.mT)
    d_score = torch._softmax_backward_data(d_score, share, -1, share.dtype)
    if side.pivots is None:
        return d_score, None, d_score.sum(1)
    return torch.bmm(d_score, side.pivots), torch.bmm(d_score.mT, side.x), d_score.sum(1)
