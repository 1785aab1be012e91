"""Slicers that are learned on one pair and reused on others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from monge._checks import check_choice, check_number
from monge.errors import ShapeError
from monge.geometry import PointCloud

from .._aligned_clouds import aligned
from ._learned_slicer import Annealing, LearnedSlicer, some_pair
from .lift import monotone_plan
from .networks import score, sine_network
from .sorting import soft_plans

__all__ = ["TransferableSlicer"]


class TransferableSlicer(LearnedSlicer):
    r"""A learned scalar function whose sorted order couples two clouds cheaply.

    $$\min_f\ \langle C, \gamma_f\rangle, \qquad \gamma_f = \text{monotone coupling of } f(X), f(Y).$$
    Any f gives a valid plan with exact marginals, in two sorts. Training lowers its cost through soft permutations
    (`lap_sort`), on whole clouds of equal weights or on minibatches of them. Slicers of similar pairs are similar: a
    slicer that was trained on one pair is a good start for the next pair, and often good without more training.

    Args:
        network: Maps (n, d) to (n,) or (n, 1); it may use the whole cloud. None builds `sine_network`.
        dimension: d, needed if ``network`` is None.
        cost: Of `PointCloud`.

    Source:
        Liu, Akbari, Diaz Martin, NaderiAlizadeh, Kolouri, Efficient transferable optimal transport via min-sliced
        transport plans (arXiv 2511.19741).

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
                raise ShapeError(
                    "dimension must be given if network is not: write for example TransferableSlicer(dimension=3)."
                )
            network = sine_network(dimension)
        self.network = network
        self.cost = cost

    def forward(self, points: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n"]:
        """The score of every point."""
        return score(self.network, points)

    def _scores(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(x), self(y)

    def loss(self, x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b m d"], scale: float = 0.1) -> Float[Tensor, "*b"]:
        r"""The cost of the soft plan: one side sorted softly, the other hard, averaged over both ways.

        Args:
            x: Sources.
            y: Targets.
            scale: Width of the soft permutation, in standard deviations of the scores.
        """
        x, y, *_ = aligned(x, y)
        cost = PointCloud(x, y, self.cost).dense()
        first, second = soft_plans(self(x), self(y), scale)
        return ((first + second) * cost).sum((-1, -2)) / 2

    def fit_pairs(
        self,
        pairs: Sequence[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ d"]]],
        *,
        steps: int = 1000,
        learning_rate: float = 1e-2,
        smoothing: str = "lap",
        scale: float = 0.5,
        final_scale: float = 0.05,
        samples: int = 16,
        batch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " steps"]:
        r"""Train on many pairs, with one pair in each step; a new pair then takes one pass and two sorts.

        The cost of a monotone plan jumps where two scores cross. ``"lap"`` makes the permutations soft and
        differentiates them; it holds an n x m matrix. ``"stein"`` makes the parameters w random and needs values only,
        $\nabla \approx \mathbb{E}[(D(w + \epsilon z) - D(w - \epsilon z)) z] / 2\epsilon$, in the memory of two sorts,
        for any cost.

        Args:
            pairs: Sources and targets.
            steps: Number of steps of AdamW.
            learning_rate: The largest learning rate; it falls along a cosine.
            smoothing: How the cost is made smooth, ``"lap"`` or ``"stein"``.
            scale: Strength of the smoothing at the start: in standard deviations of the scores, or in root mean squares
                of the parameters.
            final_scale: Strength of the smoothing at the end; it changes by the same factor at every step.
            samples: Number of pairs of disturbed parameters in a step of ``"stein"``.
            batch: Number of points that are drawn from each cloud in a step; None takes all.
            generator: Source of the order of pairs, the minibatches and the disturbances.

        Returns:
            The smooth cost at every step.

        Raises:
            InputError: No pair.

        Source:
            Chapel, Tavenard, Vaiter, Differentiable generalized sliced Wasserstein plans (arXiv 2505.22049), Stein
            smoothing.
        """
        check_choice("smoothing", smoothing, ("lap", "stein"))
        check_number("samples", samples, low=1)

        def loss(width: float) -> Tensor:
            k, i, j = some_pair(pairs, batch)
            x, y = pairs[k][0][i], pairs[k][1][j]
            return self.loss(x, y, width) if smoothing == "lap" else self._disturbed(x, y, width, samples)

        self._check(pairs)
        return Annealing(steps, learning_rate, scale, final_scale, generator).train(self, loss)

    def _disturbed(self, x: Tensor, y: Tensor, width: float, samples: int) -> Tensor:
        """The mean cost at disturbed parameters, with the gradient that its differences imply."""
        geometry = PointCloud(x, y, self.cost)
        named = dict(self.network.named_parameters())
        flat = torch.cat([part.flatten() for part in named.values()])

        def cost(parameters: Tensor) -> Tensor:
            parts = parameters.split([part.numel() for part in named.values()])
            moved = {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}
            u, v = (score(partial(functional_call, self.network, moved), side) for side in (x, y))
            return monotone_plan(u, v, ties="order")._inner(geometry)

        with torch.no_grad():
            size = width * flat.square().mean().sqrt()
            total, gradient = x.new_zeros(()), torch.zeros_like(flat)
            for _ in range(samples):
                drawn = [torch.randn(part.shape, dtype=torch.float64) for part in named.values()]
                z = torch.cat([part.flatten() for part in drawn]).to(flat)
                up, down = cost(flat + size * z), cost(flat - size * z)
                total += (up + down) / (2 * samples)
                gradient += (up - down) / (2 * size * samples) * z
        lean = (flat * gradient).sum()
        return total + lean - lean.detach()
