"""Sequences of tokens to vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from monge.coupling import Coupling
from monge.errors import ShapeError

from .block import Block
from .coupler_config import CouplerConfig
from .model_config import ModelConfig
from .pooling import POOLINGS

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Token and position embeddings, blocks of any coupler, a last norm, and one vector of all tokens.

    Args:
        vocabulary: token ids run from 0 to vocabulary - 1.
        length: the longest sequence.
        config: sizes.
        coupler: what couples tokens to tokens.

    Example:
        >>> import torch
        >>> from monge.sequences import CouplerConfig, Encoder, ModelConfig
        >>> encoder = Encoder(17, 64, ModelConfig(), CouplerConfig("pivots"))
        >>> encoder(torch.randint(17, (3, 50))).shape
        torch.Size([3, 64])
    """

    def __init__(self, vocabulary: int, length: int, config: ModelConfig, coupler: CouplerConfig) -> None:
        super().__init__()
        self.length = length
        pooling = POOLINGS[config.pooling]
        if pooling.power_of_two:
            self.length = 1 << (length - 1).bit_length()
        self.tokens = nn.Embedding(vocabulary, config.dim)
        self.positions = nn.Embedding(self.length, config.dim)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=config.embedding_std)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, coupler) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.pooling = pooling(config.dim, self.length)
        self.summary = nn.Parameter(config.embedding_std * torch.randn(config.dim)) if pooling.class_token else None

    def forward(
        self, tokens: Integer[Tensor, "b n"], padding: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """One vector per sequence.

        Args:
            tokens: ids; sequences may be shorter than the longest.
            padding: True where a token is absent.

        Raises:
            ShapeError: the sequences are longer than the encoder has positions.
        """
        x, padding = self._embed(tokens), self.seen(padding)
        for block in self.blocks:
            x = block(x, padding)
        return self.pooling(self.norm(x), padding)

    def couplings(
        self, tokens: Integer[Tensor, "b n"], padding: Bool[Tensor, "b n"] | None = None
    ) -> tuple[Coupling, ...]:
        """What every block couples, each of batch shape (b, heads); arguments as in ``forward``.

        With a class token it comes first, before those of the sequence.
        """
        x, padding, found = self._embed(tokens), self.seen(padding), []
        for block in self.blocks:
            found.append(block.couple(x, padding))  # type: ignore[operator]
            x = block(x, padding)
        return tuple(found)

    def seen(self, padding: Bool[Tensor, "b n"] | None) -> Bool[Tensor, "b m"] | None:
        """The padding that the blocks see: one token more if there is a class token, which is always present."""
        return padding if padding is None or self.summary is None else F.pad(padding, (1, 0), value=False)

    def _embed(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[-1]
        if n > self.length:
            raise ShapeError(
                f"tokens must have length at most {self.length}, the number of positions of the encoder, but have {n}: "
                "cut them, or build a longer encoder."
            )
        x = self.tokens(tokens.long()) + self.positions.weight[:n]
        if self.summary is not None:
            x = torch.cat([self.summary.expand(len(x), 1, -1), x], 1)
        return self.dropout(x)
