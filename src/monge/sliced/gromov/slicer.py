"""Slicers of two clouds in different spaces, trained to match their distances."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monge._checks import check_number
from monge.errors import ShapeError

from .._aligned_clouds import aligned, equal_unless
from ..plan._learned_slicer import Annealing, LearnedSlicer, Pairs, some_pair
from ..plan.networks import score, sine_network
from ..plan.sorting import soft_plans
from .wasserstein import Metric, Spaces, distortion, gromov_cost, metric, within

__all__ = ["GromovSlicer"]

Metrics = tuple[Metric, Metric]


class GromovSlicer(LearnedSlicer):
    r"""Coupled scores of two clouds in different spaces, whose sorted orders match their distances (min-GSGW).

    $$\min_{h, f}\ \mathrm{GW}(\gamma_{h, f}), \qquad \gamma_{h,f} = \text{monotone coupling of } f(h(X)), f(Y),$$
    with a map $h$ from the first space into the second (the lift) and a slicer $f$ there. Any pair (h, f) gives a valid
    plan, whose loss `gromov_cost` is an upper bound of Gromov-Wasserstein. Training lowers this loss through soft
    permutations (`lap_sort`) that become harder step by step, from several starts and for both signs of the scores, and
    keeps the best plan of all steps. After training on many pairs, a new pair takes one pass and two sorts.

    Args:
        slicer: f, maps (n, e) to (n,) or (n, 1), and may use the whole cloud, as `SetTransformer` does. None builds
            `sine_network`.
        lift: h, maps (n, d) to (n, e); None is the identity if ``slicer`` is given, else a linear map.
        dimensions: (d, e), needed if ``slicer`` is None.

    Source:
        Shahbazi, Liu, He, Kolouri, Min generalized sliced Gromov Wasserstein: A scalable path to Gromov Wasserstein
        (arXiv 2605.13753).

    Example:
        >>> import torch
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(20, 2, generator=g); y = torch.randn(20, 3, generator=g)
        >>> slicer = GromovSlicer(dimensions=(2, 3))
        >>> before = gromov_cost(slicer.couple(x, y), x, y)
        >>> _ = slicer.fit(x, y, steps=40, restarts=1, generator=g)
        >>> bool(gromov_cost(slicer.couple(x, y), x, y) <= before)
        True
    """

    sign: Tensor
    _one_space: ClassVar[bool] = False

    def __init__(
        self,
        slicer: nn.Module | None = None,
        lift: nn.Module | None = None,
        *,
        dimensions: tuple[int, int] | None = None,
    ):
        super().__init__()
        if slicer is None:
            if dimensions is None:
                raise ShapeError(
                    "dimensions must be given if slicer is not: write for example GromovSlicer(dimensions=(2, 3))."
                )
            slicer = sine_network(dimensions[1])
            lift = nn.Linear(*dimensions) if lift is None else lift
        self.slicer = slicer
        self.lift = nn.Identity() if lift is None else lift
        self.register_buffer("sign", torch.ones(()))

    def forward(self, x: Float[Tensor, "*b n d"], y: Float[Tensor, "*b m e"]) -> tuple[Tensor, Tensor]:
        """The scores of both clouds, (*b, n) and (*b, m)."""
        return score(self.slicer, self.lift(x)), self.sign * score(self.slicer, y)

    def _scores(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self(x, y)

    def loss(
        self,
        x: Float[Tensor, "*b n d"],
        y: Float[Tensor, "*b m e"],
        scale: float = 0.1,
        *,
        spaces: Spaces | None = None,
    ) -> Float[Tensor, "*b"]:
        """The Gromov-Wasserstein loss of the soft plans, the mean of both ways of sorting softly.

        Args:
            x: Sources.
            y: Targets.
            scale: Width of the soft permutation, in standard deviations of the scores.
            spaces: The distances within both clouds; squared Euclidean ones if None.
        """
        x, y, *_ = aligned(x, y, one_space=False)
        return self._loss(x, y, _metrics(within(x, y, spaces)), scale)

    def _loss(self, x: Tensor, y: Tensor, metrics: Metrics, scale: float) -> Tensor:
        (u, v), (left, right) = self(x, y), metrics
        equal = equal_unless(None, left.left[..., 0]), equal_unless(None, right.left[..., 0])
        plans = (plan.to(left.left.dtype) for plan in soft_plans(u, v, scale))
        first, second = (distortion(plan.matmul, equal, metrics) for plan in plans)
        return (first + second) / 2

    def fit(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m e"],
        *,
        spaces: Spaces | None = None,
        steps: int = 300,
        restarts: int = 4,
        **options: Any,
    ) -> Float[Tensor, " steps"]:
        """Train on one pair; the first start is the slicer as it is. The options are those of `fit_pairs`."""
        given = None if spaces is None else [spaces]
        return self.fit_pairs([(x, y)], spaces=given, steps=steps, restarts=restarts, **options)

    def fit_pairs(
        self,
        pairs: Sequence[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ e"]]],
        *,
        spaces: Sequence[Spaces] | None = None,
        steps: int = 1000,
        learning_rate: float = 3e-2,
        scale: float = 1.0,
        final_scale: float = 0.05,
        restarts: int = 1,
        batch: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " steps"]:
        """Train on many pairs, with one pair in each step.

        Args:
            pairs: Sources and targets.
            spaces: The distances within both clouds of every pair; squared Euclidean ones if None.
            steps: Number of steps of AdamW, for every start.
            learning_rate: The largest learning rate; it falls along a cosine.
            scale: Softness at the start.
            final_scale: Softness at the end; it changes by the same factor at every step.
            restarts: Number of starts: the slicer as it is, then new ones, alternately with both signs.
            batch: Number of points that are drawn from each cloud in a step; None takes all.
            generator: Source of the order of pairs, the minibatches and the new starts.

        Returns:
            The soft loss at every step of the best start.

        Raises:
            InputError: No pair, or a slicer without parameters.
        """
        held = [within(x, y, None if spaces is None else spaces[k]) for k, (x, y) in enumerate(pairs)]
        metrics = [_metrics(both) for both in held]
        self._check(pairs)
        check_number("restarts", restarts, low=1)

        def loss(width: float) -> Tensor:
            k, i, j = some_pair(pairs, batch)
            (x, y), (left, right) = pairs[k], metrics[k]
            return self._loss(x[i], y[j], (left.at(i), right.at(j)), width)

        annealing = Annealing(steps, learning_rate, scale, final_scale, generator)
        return self._from_many_starts(annealing, loss, _Best(self, pairs, held), restarts)

    def _from_many_starts(
        self, annealing: Annealing, loss: Callable[[float], Tensor], best: _Best, starts: int
    ) -> Tensor:
        """The losses of the start that won; the slicer is then as it was at its best."""
        history = torch.empty(0)
        for start in range(starts):
            if start:
                _restart(self, annealing.generator)
                self.sign.fill_((-1.0) ** start)
            before = best.cost
            best.look()
            losses = annealing.train(self, loss, best.look)
            if best.cost < before or not start:
                history = losses
        self.load_state_dict(best.state)
        return history


class _Best:
    """The best state of a slicer that was seen, by the cost of its plans."""

    def __init__(self, slicer: GromovSlicer, pairs: Pairs, spaces: Sequence[Spaces]):
        self.slicer, self.pairs, self.spaces = slicer, pairs, spaces
        self.cost, self.state = torch.inf, copy.deepcopy(slicer.state_dict())

    def look(self) -> None:
        """Keep the slicer as it is, or with the other sign, if it is better than all before."""
        for _ in range(2):
            costs = [
                gromov_cost(self.slicer.couple(*pair), *both)
                for pair, both in zip(self.pairs, self.spaces, strict=True)
            ]
            cost = float(torch.stack(costs).mean())
            if cost < self.cost:
                self.cost, self.state = cost, copy.deepcopy(self.slicer.state_dict())
            self.slicer.sign.neg_()


def _metrics(spaces: Spaces) -> Metrics:
    return metric(spaces[0]), metric(spaces[1])


def _restart(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw all parameters anew, without touching the global source of randomness."""
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
            if reset is not None:
                reset()
