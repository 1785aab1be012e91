"""Slicers that are learned on one pair and reused on others."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monge._checks import check_number, check_points, check_same
from monge.coupling import Coupling
from monge.errors import ShapeError
from monge.geometry import PointCloud
from monge.kernels.monotone import monotone

from .plan import monotone_plan
from .sorting import lap_sort

__all__ = ["TransferableSlicer"]


class TransferableSlicer(nn.Module):
    r"""A learned scalar function whose sorted order couples two clouds cheaply.

    $$\min_f\ \langle C, \gamma_f\rangle, \qquad \gamma_f = \text{monotone coupling of } f(X), f(Y).$$
    Any f gives a valid plan with exact marginals, in two sorts; training lowers its cost through soft permutations
    (`lap_sort`), on whole clouds or on minibatches of them. Slicers of similar pairs are similar: one trained on a pair
    is a good start, or good as it is, for the next.

    Args:
        network: Maps (n, d) to (n,) or (n, 1); a whole-cloud network is welcome. None builds `sine_network`.
        dimension: d, needed if ``network`` is None.
        cost: Of `PointCloud`.

    Source:
        Liu, Akbari, Diaz Martin, NaderiAlizadeh, Kolouri, Transferable and amortized sliced plans (arXiv 2511.19741).

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> x, y = torch.randn(64, 2, generator=g), torch.randn(64, 2, generator=g) + 2
        >>> slicer = TransferableSlicer(torch.nn.Linear(2, 1), cost="euclidean")
        >>> costs = slicer.fit(x, y, steps=50, generator=g)
        >>> bool(costs[-5:].mean() <= costs[:5].mean())
        True
        >>> slicer.couple(x, y).shape
        torch.Size([64, 64])
    """

    def __init__(self, network: nn.Module | None = None, *, dimension: int | None = None, cost: str = "sqeuclidean"):
        super().__init__()
        if network is None:
            if dimension is None:
                raise ShapeError("dimension must be given if no network is: TransferableSlicer(dimension=3).")
            network = sine_network(dimension)
        self.network = network
        self.cost = cost

    def forward(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The score of every point."""
        scores = self.network(points)
        return scores[..., 0] if scores.ndim == points.ndim else scores

    def couple(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        a: Float[Tensor, " n"] | None = None,
        b: Float[Tensor, " m"] | None = None,
    ) -> Coupling:
        """The plan between two clouds, of any sizes and weights."""
        with torch.no_grad():
            u, v = self(x), self(y)
        return monotone_plan(u, v, a, b)

    def loss(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], scale: float = 0.1) -> Float[Tensor, ""]:
        r"""The cost of the soft plan: one side sorted softly, the other hard, averaged over both ways.

        Args:
            x: Sources.
            y: Targets.
            scale: Width of the soft permutation, in standard deviations of the scores.
        """
        cost = PointCloud(x, y, self.cost).dense()
        u, v = self(x), self(y)
        pooled = torch.cat([u, v])
        # Only the order counts: unit spread keeps the softness comparable while the network trains.
        spread = pooled.std().clamp_min(1e-12)
        u, v = (u - pooled.mean()) / spread, (v - pooled.mean()) / spread
        ranks = _ranks(len(x), len(y), cost)
        soft_u, soft_v = lap_sort(u, scale), lap_sort(v, scale)
        hard_u, hard_v = (_hard(scores).to(cost.dtype) for scores in (u, v))
        first = soft_u.T @ ranks @ hard_v
        second = hard_u.T @ ranks @ soft_v
        return ((first + second) * cost).sum() / 2

    def fit(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        *,
        steps: int = 300,
        learning_rate: float = 1e-2,
        scale: float = 0.5,
        final_scale: float = 0.05,
        batch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " steps"]:
        """Train on one pair; call it again with the next pair to continue from there.

        Args:
            x: Sources.
            y: Targets.
            steps: Of AdamW.
            learning_rate: Its peak; it falls along a cosine.
            scale: Softness at the start.
            final_scale: Softness at the end, reached geometrically.
            batch: Points drawn from each cloud per step; None takes all.
            generator: Source of the minibatches.

        Returns:
            The soft cost at every step.
        """
        check_points("x", x)
        check_points("y", y)
        check_same(x=x, y=y)
        check_number("steps", steps, low=1)
        optimiser = torch.optim.AdamW(self.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        costs = []
        for step in range(steps):
            width = scale * (final_scale / scale) ** (step / max(1, steps - 1))
            part_x, part_y = (_minibatch(cloud, batch, generator) for cloud in (x, y))
            loss = self.loss(part_x, part_y, width)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            costs.append(loss.detach())
        return torch.stack(costs)


class _Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class _Skip(nn.Module):
    def __init__(self, body: nn.Module, outer: nn.Module):
        super().__init__()
        self.body, self.outer = body, outer

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(x) + self.body(x)


def sine_network(dimension: int, width: int = 64) -> nn.Module:
    """A small network with sine activations and a linear path from input to score.

    Example:
        >>> import torch
        >>> sine_network(3)(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """
    body = nn.Sequential(nn.Linear(dimension, width), _Sine(), nn.Linear(width, width), _Sine(), nn.Linear(width, 1))
    return _Skip(body, nn.Linear(dimension, 1))


def _ranks(n: int, m: int, like: Tensor) -> Tensor:
    """The plan between ranks, largest first, of equal weights."""
    if n == m:
        return torch.eye(n, dtype=like.dtype, device=like.device) / n
    i, j, w = monotone(like.new_full((n,), 1 / n), like.new_full((m,), 1 / m))
    return like.new_zeros(n, m).index_put((i, j), w, accumulate=True)


def _hard(scores: Tensor) -> Tensor:
    return nn.functional.one_hot(scores.detach().argsort(descending=True, stable=True), scores.shape[-1])


def _minibatch(cloud: Tensor, size: int | None, generator: torch.Generator | None) -> Tensor:
    if size is None or size >= len(cloud):
        return cloud
    return cloud[torch.randperm(len(cloud), generator=generator)[:size].to(cloud.device)]
