"""Couplers that glue queries to keys through a few learned pivots."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import Self

from monge._checks import check_count, check_number
from monge.coupling import Coupling, FactoredCoupling

from ..functional._heads import Heads
from ..functional._padding import at_least_single
from ..functional._shards import uniform_over
from ..functional.pivots import (
    Pivoting,
    check_odd,
    entropic_factors,
    entropic_read,
    exact_factors,
    pivot_read,
)
from ._coupler import Coupler, Promise

__all__ = ["EntropicPivots", "Pivots"]

# A pivot whose mass vanishes could never come back.
_FLOOR = 1e-4


class LearnedPivots(Coupler):
    """Learned locations and masses of r pivots per head, and the methods that both kinds of pivots share."""

    def __init__(
        self,
        heads: int,
        width: int,
        pivots: int = 32,
        *,
        epsilon: float = 1.0,
        learn_epsilon: bool = False,
        learn_mass: bool = True,
        temperature: float = 0.5,
        gradient: str = "unrolled",
        scale: float | None = None,
    ) -> None:
        super().__init__()
        check_number("epsilon", epsilon, low=0.0, strict=True)
        check_number("temperature", temperature, low=0.0, strict=True)
        check_count("pivots", pivots)
        self.temperature, self.gradient, self.scale = temperature, gradient, scale
        self.locations = nn.Parameter(torch.empty(heads, pivots, width))
        self.mass_logits = nn.Parameter(torch.zeros(heads, pivots), requires_grad=learn_mass)
        start = torch.full((heads,), math.log(math.expm1(epsilon)))
        self.epsilon_logits = nn.Parameter(start, requires_grad=learn_epsilon)
        self._epsilon = None if learn_epsilon else epsilon
        self._group = _Shared(None)
        self.reset_parameters()
        # What is wrong with the other options is said now.
        self._pivoting()

    def reset_parameters(self) -> None:
        """Draw locations of unit length on average; with nearly equal pivots the plan would be uniform at first."""
        nn.init.normal_(self.locations, std=self.locations.shape[-1] ** -0.5)
        nn.init.zeros_(self.mass_logits)

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The processes among which the tokens are sharded."""
        return self._group.held

    @property
    def mass(self) -> Float[Tensor, "h r"]:
        """The mass every pivot should carry; positive, sums to one."""
        (logits,) = at_least_single(self.mass_logits)
        mass = torch.softmax(logits / self.temperature, -1)
        return (1 - _FLOOR) * mass + _FLOOR / mass.shape[-1]

    @property
    def epsilon(self) -> float | Tensor:
        """Epsilon, one number per head if it is learned."""
        return F.softplus(self.epsilon_logits) if self._epsilon is None else self._epsilon

    def _pivoting(self) -> Pivoting:
        return Pivoting(self.locations, self.mass.log(), self.scale, self.epsilon, self.gradient, self.group)


class _Shared:
    """Holds what copies of a module share, since it cannot be copied."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __deepcopy__(self, memo: dict) -> Self:
        return self


class ShardedPivots(LearnedPivots):
    """Learned pivots of a sequence whose tokens may be sharded over the processes of a group."""

    def __init__(
        self, heads: int, width: int, pivots: int = 32, *, group: dist.ProcessGroup | None = None, **options: Any
    ) -> None:
        super().__init__(heads, width, pivots, **options)
        self._group = _Shared(group)


class Pivots(ShardedPivots):
    """Doubly stochastic up to rounding, for any number of iterations, even none; linear time, rank at most r.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        pivots: r, number of pivots per head.
        iterations: Rounds of balancing that move the use of the pivots towards their masses before the exact step.
        epsilon: Strength of the entropy of the assignments.
        learn_epsilon: Make it a parameter per head, kept positive by softplus.
        learn_mass: Make the masses parameters.
        temperature: Of the softmax that gives the masses.
        gradient: "unrolled" through the rounds, or "implicit" at their fixed point.
        scale: $s$, $d^{-1/2}$ for heads of width d if None.
        group: Processes among which the tokens of a sequence are divided. Each process attends with its queries to the
            keys of all processes, and they exchange only sums of size r. The coupling of a process is the block of its
            own queries and keys. Each process computes the gradient of its part of the loss: add these gradients over
            the group (their mean, as in ``DistributedDataParallel``, belongs to the mean of the parts).

    Example:
        >>> from monge.nn.couplers import Pivots
        >>> attention = monge.nn.Attention(16, 2, coupler=Pivots(2, 8, pivots=4, epsilon=0.125))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Shahbazi, Thrash, Bai, Hamm, NaderiAlizadeh, Kolouri, LOTFormer: Doubly-stochastic linear attention via
    low-rank optimal transport, arXiv 2509.23436, for gluing through pivots; the exact step is this library's.
    """

    name = "pivots"
    promise = Promise.of_both(
        time="n r d",
        memory="n r",
        gradient="exact; unrolled or implicit through iterations",
        source="arXiv 2509.23436, exact step of this library",
    )

    def __init__(self, heads: int, width: int, pivots: int = 32, *, iterations: int = 0, **options: Any) -> None:
        super().__init__(heads, width, pivots, **options)
        check_count("iterations", iterations, low=0)
        self.iterations = iterations

    def _couple(self, heads: Heads) -> Coupling:
        left, right = exact_factors(heads, self._pivoting(), self.iterations)
        return FactoredCoupling._make(Q=left, R=right, g=torch.ones_like(left[..., 0, :]))

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return pivot_read(heads, v, self._pivoting(), self.iterations)


class EntropicPivots(ShardedPivots):
    """Two entropic problems glued through the pivots, as published: columns are exact at convergence only.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        pivots: r, number of pivots per head.
        n_half: Half-steps of each problem, an odd number: the first problem begins and ends with the queries, the
            second one with the pivots.
        epsilon: Strength of the entropy of both problems.
        learn_epsilon: Make it a parameter per head, kept positive by softplus.
        learn_mass: Make the masses parameters; not with one half-step, which does not use them.
        temperature: Of the softmax that gives the masses.
        gradient: "unrolled" through the half-steps, or "implicit" at their fixed point.
        scale: $s$, $d^{-1/2}$ for heads of width d if None.
        group: Processes among which the tokens of a sequence are sharded, as in `Pivots`.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="entropic-pivots")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Shahbazi, Thrash, Bai, Hamm, NaderiAlizadeh, Kolouri, LOTFormer: Doubly-stochastic linear attention via
    low-rank optimal transport, arXiv 2509.23436.
    """

    name = "entropic-pivots"
    promise = Promise.of_rows(
        "at convergence",
        time="n_half n r + n r d",
        memory="n_half n r, or n r with gradient='implicit'",
        gradient="unrolled or implicit",
        source="arXiv 2509.23436",
    )

    def __init__(self, heads: int, width: int, pivots: int = 32, *, n_half: int = 5, **options: Any) -> None:
        check_odd(n_half)
        # A single half-step normalises one side by the other and meets no mass.
        options = {**options, "learn_mass": False} if n_half == 1 else options
        super().__init__(heads, width, pivots, **options)
        self.n_half = n_half

    def _couple(self, heads: Heads) -> Coupling:
        left, right = entropic_factors(heads, self._pivoting(), self.n_half)
        left = left * uniform_over(left, heads.query_padding, self.group)[..., None]
        return FactoredCoupling._make(Q=left, R=right, g=torch.ones_like(left[..., 0, :]))

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return entropic_read(heads, v, self._pivoting(), self.n_half)
