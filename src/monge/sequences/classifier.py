"""Sequences, or pairs of them, to classes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from monge.coupling import Coupling

from .coupler_config import CouplerConfig
from .encoder import Encoder
from .model_config import ModelConfig

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """An `Encoder` and two layers that read classes off its vectors.

    The two sequences of a pair pass through one encoder, apart from each other, and meet as
    [x₁, x₂, x₁ x₂, x₁ - x₂].

    Args:
        vocabulary: token ids run from 0 to vocabulary - 1.
        classes: how many classes there are.
        length: the longest sequence.
        config: sizes.
        coupler: what couples tokens to tokens: a name, with options after colons, or both as a value.
        pair: every input is a pair of sequences.

    Example:
        >>> import torch
        >>> from monge.sequences import Classifier
        >>> Classifier(17, 10, 64, coupler="sinkhorn:n_half=3")(torch.randint(17, (5, 64))).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        length: int,
        config: ModelConfig | None = None,
        *,
        coupler: str | CouplerConfig = "pivots",
        pair: bool = False,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        self.pair = pair
        self.encoder = Encoder(vocabulary, length, config, CouplerConfig.of(coupler))
        width = 4 * config.dim if pair else config.dim
        self.head = nn.Sequential(nn.Linear(width, config.head), nn.ReLU(), nn.Linear(config.head, classes))

    def forward(
        self, tokens: Integer[Tensor, "b *pair n"], padding: Bool[Tensor, "b *pair n"] | None = None
    ) -> Float[Tensor, "b classes"]:
        """Logits; padding is True where a token is absent."""
        if not self.pair:
            return self.head(self.encoder(tokens, padding))
        both = self.encoder(tokens.flatten(0, 1), None if padding is None else padding.flatten(0, 1))
        one, two = both.unflatten(0, (-1, 2)).unbind(1)
        return self.head(torch.cat([one, two, one * two, one - two], -1))

    def couplings(
        self, tokens: Integer[Tensor, "b *pair n"], padding: Bool[Tensor, "b *pair n"] | None = None
    ) -> tuple[Coupling, ...]:
        """What every block couples; the sequences of pairs follow each other."""
        if self.pair:
            tokens, padding = tokens.flatten(0, 1), None if padding is None else padding.flatten(0, 1)
        return self.encoder.couplings(tokens, padding)
