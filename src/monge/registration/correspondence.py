"""The partners of points in another cloud: by partial transport on slices, or in space with entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge import kernels
from monge._checks import check_choice, check_number
from monge._value import Value, value
from monge.kernels import Points
from monge.sliced import directions

__all__ = ["Correspondence", "Goals", "Plans", "Slices"]


class Goals(NamedTuple):
    """The place where every point should go, and a weight that says how certain this is."""

    place: Tensor  # (*b, n, d)
    weight: Tensor  # (*b, n), between zero and one


class Correspondence(Value, ABC):
    """A way to find partners, for several positions of the source at the same time."""

    @abstractmethod
    def _match(
        self,
        moved: Float[Tensor, "s n d"],
        target: Float[Tensor, "m d"],
        price: float,
        generator: torch.Generator | None,
    ) -> Goals:
        """Goals at the penalty ``price``."""


@value
class Slices(Correspondence):
    r"""Sliced partial transport: the exact partial plan on every line, and a consensus over a few lines.

    On each slice, a matched point gets the position of its partner along one direction. From several orthonormal bases
    of slices, least squares finds its displacement in space. The weight of a point is the share of slices that matched
    it, to the power of ``consensus``, times a factor that says how well one displacement explains all slices. An
    outlier is matched on some slices by accident; a point with a true partner is matched on every slice, always in the
    same way. A slice takes $O(n \log n)$ operations.

    Args:
        bases: Orthonormal bases of slices.
        consensus: The power.
        mass: Move this share of the smaller cloud on every slice, or ``"knee"``, instead of the mass that follows from
            the penalty.

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049); Chapel, Tavenard, One for
        all and all for one: efficient computation of partial Wasserstein distances on the line (2025).

    Example:
        >>> Slices()
        Slices(bases=6, consensus=6.0, mass=None)
    """

    bases: int = 6
    consensus: float = 6.0
    mass: float | str | None = None

    def __post_init__(self) -> None:
        check_number("bases", self.bases, low=1)
        check_number("consensus", float(self.consensus), low=0.0)
        if isinstance(self.mass, str):
            check_choice("mass", self.mass, ("knee",))
        elif self.mass is not None:
            check_number("mass", float(self.mass), low=0.0, high=1.0, strict=True)

    def _match(self, moved: Tensor, target: Tensor, price: float, generator: torch.Generator | None) -> Goals:
        d = moved.shape[-1]
        theta = directions(self.bases * d, d, generator=generator, dtype=moved.dtype, device=moved.device)
        u = theta @ moved.mT
        v = (theta @ target.T).expand(len(moved), -1, -1)
        rule, level = self._rule(min(u.shape[-1], v.shape[-1]), price)
        plan = kernels.partial_plan(u, v, rule=rule, level=u.new_tensor(level), p=2.0)
        w = plan.w.to(u.dtype)
        step = torch.zeros_like(u).scatter_add(-1, plan.i, w * (v.gather(-1, plan.j) - u.gather(-1, plan.i)))
        matched = torch.zeros_like(u).scatter_add(-1, plan.i, w)
        # Least squares of the displacement, held back a little where too few slices speak.
        normal = torch.einsum("sln,la,lb->snab", matched, theta, theta) + 1e-3 * self.bases * torch.eye(d).to(u)
        along = torch.einsum("sln,la->sna", step, theta)
        way = torch.linalg.solve(normal, along[..., None])[..., 0]
        explained = torch.einsum("la,sna->sln", theta, way) * matched
        doubt = (step - explained).square().mean(-2) / (2 * price)
        return Goals(moved + way, matched.mean(-2) ** self.consensus * torch.exp(-3 * doubt))

    def _rule(self, most: int, price: float) -> tuple[str, float]:
        if self.mass is None:
            return "penalty", price
        return ("knee", 0.0) if isinstance(self.mass, str) else ("mass", round(self.mass * most))


@value
class Plans(Correspondence):
    r"""Entropic partial transport in space: soft plans, whose entropy becomes smaller together with the penalty.

    A pair at distance r has the weight $e^{(2\lambda - r^2 + f_i + g_j)/\lambda}$. The potentials $f, g \le 0$ prevent
    that a point takes or gives more than one unit. Every step makes a few streamed iterations; it takes quadratic time,
    and the memory of the clouds.

    Args:
        iterations: Iterations per step.

    Source:
        Benamou et al., Iterative Bregman projections for regularized transportation problems (arXiv 1412.5154); Chui,
        Rangarajan, A new point matching algorithm for non-rigid registration (2003).

    Example:
        >>> Plans()
        Plans(iterations=6)
    """

    iterations: int = 6

    def __post_init__(self) -> None:
        check_number("iterations", self.iterations, low=1)

    def _match(self, moved: Tensor, target: Tensor, price: float, generator: torch.Generator | None) -> Goals:
        weight, place, _ = self._told(moved, target, price)
        return Goals(place / weight.clamp_min(torch.finfo(weight.dtype).tiny)[..., None], weight)

    def _potentials(self, pairs: Points, price: float, epsilon: float) -> tuple[Tensor, Tensor]:
        """What keeps every point of either side from more than one unit."""
        f, g = pairs.x[..., 0], torch.zeros_like(pairs.y[..., 0])
        for _ in range(self.iterations):
            f = (kernels.softmin(pairs, g / epsilon, epsilon) - 2 * price).clamp_max(0)
            g = (kernels.softmin(pairs.transpose(), f / epsilon, epsilon) - 2 * price).clamp_max(0)
        return f, g

    def _told(self, moved: Tensor, target: Tensor, price: float) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the plan's rows of one, the target's places, and their squares."""
        target = target.expand(len(moved), *target.shape[-2:])
        pairs = Points(moved, target)
        f, g = self._potentials(pairs, price, price)
        values = torch.cat([torch.ones_like(target[..., :1]), target, target.square().sum(-1, keepdim=True)], -1)
        told = kernels.apply(pairs, (2 * price + f) / price, g / price, values, price)
        return told[..., 0], told[..., 1:-1], told[..., -1]
