"""Feature maps of linear attention, each a small module: φ(q), φ(k) from q, k."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from monge._checks import check_choice
from monge.errors import InputError

from .functional.features import elu_features, query_features

# Of a feature, so that two tokens have one in common that does not underflow.
_LEAST = 1e-6

__all__ = ["EluFeatures", "FeatureMap", "LunaFeatures", "PerformerFeatures"]


class FeatureMap(nn.Module):
    """Maps queries and keys to non-negative features, whose products are the kernel of the attention.

    Example:
        >>> q, k = torch.randn(2, 10, 8).unbind()
        >>> [phi.shape for phi in FeatureMap()(q, k, None)]
        [torch.Size([10, 8]), torch.Size([10, 8])]
    """

    def forward(
        self, q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], key_padding: Bool[Tensor, "*#b m"] | None
    ) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
        """φ(q) and φ(k)."""
        return self.map(q), self.map(k)

    def map(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n r"]:
        """φ(x), where queries and keys share it."""
        return elu_features(x)


class EluFeatures(FeatureMap):
    """elu(x) + 1; the features of each query are multiplied by a factor, which has no effect on attention.

    Example:
        >>> q, k = torch.randn(2, 10, 8).unbind()
        >>> phi_q, phi_k = EluFeatures()(q, k, None)
        >>> bool((phi_q > 0).all() and (phi_k > 0).all())
        True

    Source: Katharopoulos, Vyas, Pappas, Fleuret, Transformers are RNNs: Fast autoregressive transformers with linear
    attention, arXiv 2006.16236.
    """

    def forward(
        self, q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], key_padding: Bool[Tensor, "*#b m"] | None
    ) -> tuple[Float[Tensor, "*b n d"], Float[Tensor, "*b m d"]]:
        """φ(q) and φ(k)."""
        return query_features(q), elu_features(k)


class PerformerFeatures(FeatureMap):
    r"""Positive random features of the softmax kernel (FAVOR+).

    $$φ(x) = m^{-1/2} \left(\exp(W x - \|x\|^2/2 - c) + 10^{-4}\right), \quad x ← d^{-1/4} x$$

    The rows of W are orthogonal and have χ-distributed norms; c is the largest exponent of the query, or of all keys
    that are present.

    Args:
        width: d.
        size: m, number of features; d log d if None.
        generator: Draws W.

    Example:
        >>> phi_q, phi_k = PerformerFeatures(8, 32)(torch.randn(10, 8), torch.randn(12, 8), None)
        >>> phi_q.shape, phi_k.shape
        (torch.Size([10, 32]), torch.Size([12, 32]))

    Source: Choromanski et al., Rethinking attention with Performers, arXiv 2009.14794.
    """

    projection: Tensor

    def __init__(self, width: int, size: int | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        size = max(1, round(width * math.log(width))) if size is None else size
        self.register_buffer("projection", _orthogonal(size, width, generator))

    @torch.no_grad()
    def redraw(self, generator: torch.Generator | None = None) -> None:
        """Draw new features in place, as some training recipes do every thousand steps."""
        size, width = self.projection.shape
        self.projection.copy_(_orthogonal(size, width, generator))

    def forward(
        self, q: Float[Tensor, "*b n d"], k: Float[Tensor, "*b m d"], key_padding: Bool[Tensor, "*#b m"] | None
    ) -> tuple[Float[Tensor, "*b n r"], Float[Tensor, "*b m r"]]:
        """φ(q) and φ(k), each with its own c; padding has no influence on that of the keys."""
        log_q, log_k = self._exponent(q), self._exponent(k)
        if key_padding is not None:
            log_k = log_k.masked_fill(key_padding[..., None], -1e30)
        top_k = log_k.flatten(-2).max(-1).values[..., None, None]
        return self._lift(log_q, log_q.max(-1, keepdim=True).values), self._lift(log_k, top_k)

    def _exponent(self, x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        return x @ self.projection.to(x.dtype).mT - (x * x).sum(-1, keepdim=True) / 2

    def _lift(self, exponent: Tensor, top: Tensor) -> Tensor:
        return ((exponent - top).exp() + 1e-4) * exponent.shape[-1] ** -0.5


class LunaFeatures(FeatureMap):
    r"""Learned features: one scalar network applied to learned projections.

    $$φ(x) = m^{-1/2} [ψ_l(w_i·x + β_i)]_{i \le m, l \le L}, \quad x ← d^{-1/4} x$$

    ψ from R to $R^L$ is a ReLU network with one hidden layer, hence piecewise linear with one knot for each hidden
    unit. For a token, only the piece is looked up; its slope and level are differentiable functions of the weights. So
    values and gradients are those of the network up to rounding, but no hidden layer is computed for any token.

    Args:
        width: d.
        projections: m.
        channels: L; there are m L features.
        hidden: Width of the hidden layer.
        output: "relu" with 1e-3 added, so that no token is without features, or "softplus", at least 1e-6.
        separate: A network per channel instead of one for all.

    Example:
        >>> features = LunaFeatures(8, projections=6, channels=2)
        >>> features.map(torch.randn(10, 8)).shape
        torch.Size([10, 12])

    Source: Shahbazi, He, Abbasi, Bai, Liu, Akbari, Salehi, NaderiAlizadeh, Kolouri, LUNA: Linear universal neural
    attention with generalization guarantees, arXiv 2512.08061.
    """

    def __init__(
        self,
        width: int,
        projections: int = 16,
        channels: int = 4,
        *,
        hidden: int = 64,
        output: str = "relu",
        separate: bool = False,
    ) -> None:
        super().__init__()
        check_choice("output", output, ("relu", "softplus"))
        if min(projections, channels, hidden) < 1:
            raise InputError(
                f"projections, channels and hidden must be positive, but are {projections}, {channels}, {hidden}."
            )
        self.output = output
        nets = channels if separate else 1
        self.weight = nn.Parameter(torch.randn(projections, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(projections))
        self.slope = nn.Parameter(torch.randn(nets, hidden))
        self.shift = nn.Parameter(torch.randn(nets, hidden))
        self.mix = nn.Parameter(torch.randn(nets, channels // nets, hidden) * hidden**-0.5)
        self.offset = nn.Parameter(torch.zeros(nets, channels // nets))

    def map(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n r"]:
        """φ(x)."""
        t = F.linear(x * x.shape[-1] ** -0.25, self.weight.to(x.dtype), self.bias.to(x.dtype))
        raw = self.lookup(t)
        positive = F.relu(raw) + 1e-3 if self.output == "relu" else F.softplus(raw).clamp_min(_LEAST)
        return positive.flatten(-2) * t.shape[-1] ** -0.5

    def network(self, t: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m l"]:
        """ψ of every scalar by its definition, with the hidden layer, before the output is made positive."""
        channels = [
            F.linear(F.relu(t[..., None] * slope + shift), mix, offset)
            for slope, shift, mix, offset in self._networks(t)
        ]
        return torch.cat(channels, -1)

    def lookup(self, t: Float[Tensor, "*b m"]) -> Float[Tensor, "*b m l"]:
        """ψ of every scalar by the affine piece that it lies in; equal to `network`."""
        channels = []
        for slope, shift, mix, offset in self._networks(t):
            flat = slope == 0
            knots = torch.where(flat, 0.0, -shift / slope.masked_fill(flat, 1.0)).detach().sort().values
            ends = torch.cat([knots[:1] - 1.0, (knots[1:] + knots[:-1]) / 2, knots[-1:] + 1.0])
            active = (ends[:, None] * slope + shift > 0).to(t.dtype)
            gains, levels = (active * slope) @ mix.mT, (active * shift) @ mix.mT + offset
            piece = torch.bucketize(t.detach(), knots)
            channels.append(gains[piece] * t[..., None] + levels[piece])
        return torch.cat(channels, -1)

    def _networks(self, like: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Slopes, shifts, mixing weights and offsets of every network, in the dtype of a tensor."""
        held = (self.slope, self.shift, self.mix, self.offset)
        return zip(*(parameter.to(like.dtype) for parameter in held), strict=True)


def _orthogonal(size: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Rows in orthogonal blocks, each row as long as a Gaussian vector."""
    blocks = []
    for start in range(0, size, width):
        block = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
        blocks.append(block[: size - start])
    length = torch.randn(size, width, generator=generator).norm(dim=-1, keepdim=True)
    return torch.cat(blocks) * length
