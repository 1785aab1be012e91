"""The tokens of a sequence to one vector."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from monge._checks import check_choice
from monge.errors import DtypeError

__all__ = ["POOLINGS", "Pooling"]

POOLINGS = ("mean", "padded-mean", "learned", "class")


class Pooling(nn.Module):
    r"""A weighted mean over the tokens that are present.

    ``"mean"`` weighs them equally. ``"padded-mean"`` is the convention of published tables: the sum over the tokens
    that are present, divided by all positions that the model has. ``"learned"`` gives every channel its own
    weights, softmax over the tokens of a learned linear score, which start equal. ``"class"`` puts all weight on the
    first token, which `Encoder` then sets before the sequence, the same learned one for all.

    A plain mean is blind to balanced attention: if every key receives the same total weight, the mean of what the
    queries read is the mean of the values, :math:`\frac1n \sum_{ij} A_{ij} v_j = \frac1n \sum_j v_j`, whatever A is.
    Only what is done to each token afterwards shows a difference. Learned weights see it at once, and so does a class
    token; under balance it reads every token with at most its own weight, unless the coupler is ``"hybrid"``.

    Args:
        kind: one of the four.
        dim: width of tokens.
        positions: the most tokens of a sequence.
    """

    def __init__(self, kind: str, dim: int, positions: int) -> None:
        super().__init__()
        check_choice("pooling", kind, POOLINGS)
        self.kind, self.positions = kind, positions
        self.scores = nn.Linear(dim, dim, bias=False) if kind == "learned" else None
        if self.scores is not None:
            nn.init.zeros_(self.scores.weight)

    def forward(self, x: Float[Tensor, "b n d"], padding: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b d"]:
        """One vector per sequence, zero if nothing is present; padding is True where a token is absent.

        Raises:
            DtypeError: padding is not boolean.
        """
        if padding is not None and padding.dtype != torch.bool:
            raise DtypeError(
                f"padding must be boolean, True where a token is absent, but its dtype is {padding.dtype}: pass "
                "padding != 0, or tokens == 0 if zero is the id of padding."
            )
        if self.kind == "class":
            return x[..., 0, :]
        if padding is not None:
            x = x.masked_fill(padding[..., None], 0.0)
        if self.scores is not None:
            scores = self.scores(x)
            if padding is not None:
                scores = scores.masked_fill(padding[..., None], torch.finfo(scores.dtype).min)
            return (torch.softmax(scores, -2) * x).sum(-2)
        total = x.sum(-2)
        if self.kind == "padded-mean":
            return total / self.positions
        present = max(1, x.shape[-2]) if padding is None else (~padding).sum(-1, keepdim=True).clamp_min(1)
        return total / present

    def extra_repr(self) -> str:
        """The kind."""
        return self.kind
