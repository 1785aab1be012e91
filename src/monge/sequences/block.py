"""One layer of an encoder."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from monge.coupling import Coupling
from monge.nn import Attention

from .coupler_config import CouplerConfig
from .model_config import ModelConfig

__all__ = ["Block"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)).

    Args:
        config: sizes.
        coupler: what couples tokens to tokens.
    """

    def __init__(self, config: ModelConfig, coupler: CouplerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.attention = Attention(
            config.dim,
            config.heads,
            coupler.build(config.heads, config.dim // config.heads),
            dropout=config.attention_dropout,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.feed = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*b n"] | None) -> Float[Tensor, "*b n d"]:
        """Tokens in, tokens out; padding is True where a token is absent."""
        read, _ = self.attention(self.norm(x), key_padding_mask=padding)
        x = x + self.dropout(read)
        return x + self.feed(x)

    def couple(self, x: Float[Tensor, "*b n d"], padding: Bool[Tensor, "*b n"] | None) -> Coupling:
        """The coupling of tokens to tokens that every head makes of these inputs."""
        return self.attention.couple(self.norm(x), key_padding_mask=padding)
