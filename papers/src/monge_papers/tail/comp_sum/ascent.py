"""The worst point near every sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monge.errors import InputError

__all__ = ["Ascent"]


@dataclass(frozen=True)
class Ascent:
    r"""Projected gradient ascent in a ball around every sample: the largest $f(x')$ with $\lVert x' - x\rVert \le r$.

    It begins at a random point of the ball, since the gradient may vanish in the middle, and returns the best point
    that it has met, the middle included: more steps of one length never make it worse.

    Args:
        radius: $r$, in the units of the inputs.
        norm: ``math.inf`` bounds every coordinate, 2 bounds the Euclidean norm.
        steps: Steps along the gradient, or along its signs where every coordinate is bounded.
        length: Length of a step; None is ``2.5 * radius / steps``.

    Raises:
        InputError: A setting is outside its range.

    Example:
        >>> ascent = Ascent(radius=0.5, norm=2, length=1.0)
        >>> uphill = torch.tensor([3.0, 4.0])
        >>> far = ascent.worst(lambda x: x @ uphill, torch.zeros(1, 2))
        >>> bool(far @ uphill > 2.499)  # the largest value is 2.5, at (0.3, 0.4)
        True

    Source: Madry et al., Towards deep learning models resistant to adversarial attacks, arXiv 1706.06083.
    """

    radius: float
    norm: float = math.inf
    steps: int = 10
    length: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.radius < math.inf:
            raise InputError(f"radius must lie in [0, inf), but is {self.radius!r}: 0 moves nothing.")
        if self.norm not in (2, math.inf):
            raise InputError(f"norm={self.norm!r} is unknown: choose 2 or math.inf.")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, but is {self.steps!r}: take 10.")
        if self.length is not None and not 0 < self.length < math.inf:
            raise InputError(f"length must lie in (0, inf), but is {self.length!r}: None picks one.")

    @torch.no_grad()
    def worst(
        self,
        objective: Callable[[Tensor], Tensor],
        inputs: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The point near every sample where the objective was largest.

        Args:
            objective: From moved inputs (N, ...) to a number for each of them (N,); one sample must not know another.
            inputs: Samples (N, ...).
            generator: Source of the first points.

        Returns:
            Points (N, ...), without a graph: the derivative of the largest value is the one at a fixed point.
        """
        inputs = inputs.detach()
        length = 2.5 * self.radius / self.steps if self.length is None else self.length
        device = inputs.device if generator is None else generator.device
        noise = torch.randn(inputs.shape, dtype=inputs.dtype, device=device, generator=generator).to(inputs.device)
        offset = self._inside(self.radius * noise)
        best, highest = inputs, objective(inputs)
        for _ in range(self.steps):
            moved = (inputs + offset).requires_grad_()
            with torch.enable_grad():
                values = objective(moved)
            (gradient,) = torch.autograd.grad(values, moved, torch.ones_like(values))
            best, highest = _higher(best, highest, moved.detach(), values.detach())
            offset = self._inside(offset + length * self._direction(gradient))
        return _higher(best, highest, inputs + offset, objective(inputs + offset))[0]

    def _direction(self, gradient: Tensor) -> Tensor:
        if self.norm == math.inf:
            return gradient.sign()
        return gradient / _norms(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)

    def _inside(self, offset: Tensor) -> Tensor:
        if self.norm == math.inf:
            return offset.clamp(-self.radius, self.radius)
        return offset * (self.radius / _norms(offset).clamp_min(max(self.radius, torch.finfo(offset.dtype).tiny)))


def _higher(best: Tensor, highest: Tensor, points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """For every sample the better one of two points, and its value."""
    better = values > highest
    return torch.where(_beside(better, points), points, best), torch.where(better, values, highest)


def _norms(points: Tensor) -> Tensor:
    """The Euclidean norm of every sample, of a shape that broadcasts with the samples."""
    return _beside(torch.linalg.vector_norm(points.reshape(len(points), -1), dim=-1), points)


def _beside(numbers: Tensor, points: Tensor) -> Tensor:
    return numbers.reshape(-1, *(1,) * (points.ndim - 1))
