"""The size of an encoder."""

from __future__ import annotations

from dataclasses import dataclass

from monge._checks import check_number
from monge.errors import InputError

from .pooling import POOLINGS

__all__ = ["ModelConfig"]


@dataclass(frozen=True)
class ModelConfig:
    """The encoder and its classifier; the defaults are the small configuration of published Long Range Arena tables.

    Args:
        dim: width of tokens.
        heads: heads of attention.
        layers: blocks of attention and feed-forward.
        hidden: width inside of the feed-forward.
        head: width inside of the classifier.
        dropout: of embeddings, and of what attention and feed-forward add.
        attention_dropout: of the coupler.
        pooling: tokens to one vector, a name of `POOLINGS`: ``"mean"``, ``"padded-mean"``, ``"learned"``, ``"class"``.
        embedding_std: spread of token and position embeddings at the start.

    Raises:
        InputError: a size is not positive, a probability is none, or the heads do not divide the width.
    """

    dim: int = 64
    heads: int = 2
    layers: int = 2
    hidden: int = 128
    head: int = 128
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pooling: str = "mean"
    embedding_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("dim", "heads", "layers", "hidden", "head"):
            check_number(name, getattr(self, name), low=1)
        for name in ("dropout", "attention_dropout"):
            check_number(name, getattr(self, name), low=0.0, high=1.0)
        check_number("embedding_std", self.embedding_std, low=0.0, strict=True)
        POOLINGS.require(self.pooling)
        if self.dim % self.heads:
            raise InputError(f"heads must divide dim, but {self.dim} is not a multiple of {self.heads}.")
