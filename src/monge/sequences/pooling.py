"""The tokens of a sequence to one vector, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from monge.errors import DtypeError
from monge.registry import Registry, check_derived

__all__ = ["POOLINGS", "Pooling"]


class Pooling(nn.Module, ABC):
    r"""Reads one vector from the tokens of a sequence that are present.

    A new one writes ``_pool``, and is chosen by its name in `POOLINGS`, for instance ``ModelConfig(pooling="name")``.

    A plain mean is blind to balanced attention: if every key receives the same total weight, the mean of what the
    queries read is the mean of the values, :math:`\frac1n \sum_{ij} A_{ij} v_j = \frac1n \sum_j v_j`, whatever A is.
    Only what is done to each token afterwards shows a difference. Learned weights see it at once, and so does a class
    token; under balance it reads every token with at most its own weight, unless the coupler is ``"hybrid"``.

    Args:
        dim: width of tokens.
        positions: the most tokens of a sequence.

    Example:
        >>> import torch
        >>> from monge.sequences import POOLINGS
        >>> POOLINGS["mean"](1, 3)(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[False, False, True]]))
        tensor([[2.]])
    """

    class_token: ClassVar[bool] = False
    """Whether `Encoder` sets a learned token before every sequence."""
    power_of_two: ClassVar[bool] = False
    """Whether the positions of the model are rounded up to a power of two, as published code pads."""

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.positions = positions

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
        return self._pool(x if padding is None else x.masked_fill(padding[..., None], 0.0), padding)

    @abstractmethod
    def _pool(self, x: Float[Tensor, "b n d"], padding: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b d"]:
        """The vector, of tokens that are zero where they are absent."""


POOLINGS: Registry[type[Pooling]] = Registry(
    "pooling", check=partial(check_derived, base=Pooling, where="monge.sequences.Pooling")
)
"""Ways to read one vector from a sequence, by the name that `ModelConfig` takes."""


@POOLINGS.register("mean")
class Mean(Pooling):
    """The mean over the tokens that are present."""

    def _pool(self, x: Tensor, padding: Tensor | None) -> Tensor:
        present = max(1, x.shape[-2]) if padding is None else (~padding).sum(-1, keepdim=True).clamp_min(1)
        return x.sum(-2) / present


@POOLINGS.register("padded-mean")
class PaddedMean(Pooling):
    """The sum over the tokens that are present by all positions of the model, the convention of published tables."""

    power_of_two = True

    def _pool(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return x.sum(-2) / self.positions


@POOLINGS.register("learned")
class Learned(Pooling):
    """Weights for every channel, the softmax over the tokens of a learned linear score; they start equal."""

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__(dim, positions)
        self.scores = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.scores.weight)

    def _pool(self, x: Tensor, padding: Tensor | None) -> Tensor:
        scores = self.scores(x)
        if padding is not None:
            scores = scores.masked_fill(padding[..., None], torch.finfo(scores.dtype).min)
        return (torch.softmax(scores, -2) * x).sum(-2)


@POOLINGS.register("class")
class ClassToken(Pooling):
    """The first token, a learned one that the encoder sets before every sequence, the same for all."""

    class_token = True

    def _pool(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return x[..., 0, :]
