"""Networks that give every point of a cloud a score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monge._transforms import transformable

__all__ = ["SetTransformer", "score", "sine_network"]


class _Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class _Skip(nn.Module):
    def __init__(self, body: nn.Module, outer: nn.Module):
        super().__init__()
        self.body, self.outer = body, outer

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x) + self.body(x)


@transformable
def sine_network(dimension: int, width: int = 64) -> nn.Module:
    """A small network with sine activations and a linear path from input to score.

    Example:
        >>> import torch
        >>> sine_network(3)(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """
    body = nn.Sequential(nn.Linear(dimension, width), _Sine(), nn.Linear(width, width), _Sine(), nn.Linear(width, 1))
    return _Skip(body, nn.Linear(dimension, 1))


class _Attend(nn.Module):
    """Queries look at a set: attention, then a small network, each with a path around it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, queries: Tensor, points: Tensor) -> Tensor:
        seen = self.first(queries + self.attention(queries, points, points, need_weights=False)[0])
        return self.second(seen + self.body(seen))


class SetTransformer(nn.Module):
    """A network whose score of a point depends on the whole cloud, whatever the order of its points.

    In two blocks, the points attend to a few learned points, which attend to the whole cloud; the time is linear in the
    size of the cloud. Optionally, there are more blocks in which all points attend to each other.

    Args:
        dimension: Dimension of the points.
        width: Width of the hidden layers.
        inducing: Number of learned points.
        heads: Number of heads of attention.
        full: Number of blocks in which all points attend to all points.

    Source:
        Lee et al., Set transformer (arXiv 1810.00825).

    Example:
        >>> import torch
        >>> SetTransformer(3)(torch.randn(10, 3)).shape
        torch.Size([10, 1])
    """

    def __init__(self, dimension: int, *, width: int = 64, inducing: int = 16, heads: int = 4, full: int = 0):
        super().__init__()
        self.enter = nn.Linear(dimension, width)
        self.inducing = nn.ParameterList(nn.Parameter(torch.empty(1, inducing, width)) for _ in range(2))
        self.gather = nn.ModuleList(_Attend(width, heads) for _ in range(2))
        self.spread = nn.ModuleList(_Attend(width, heads) for _ in range(2))
        self.full = nn.ModuleList(_Attend(width, heads) for _ in range(full))
        self.leave = nn.Linear(width, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new learned points."""
        for few in self.inducing:
            nn.init.normal_(few, std=few.shape[-1] ** -0.5)

    def forward(self, points: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n 1"]:
        """The score of every point."""
        batch = points.shape[:-2]
        held = self.enter(points.reshape(batch.numel(), *points.shape[-2:]))
        for few, gather, spread in zip(self.inducing, self.gather, self.spread, strict=True):
            held = spread(held, gather(few.expand(len(held), -1, -1), held))
        for block in self.full:
            held = block(held, held)
        return self.leave(held).reshape(*batch, points.shape[-2], 1)


def score(network: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The scores that a network gives to points, one number each."""
    scores = network(points)
    return scores[..., 0] if scores.ndim == points.ndim else scores
