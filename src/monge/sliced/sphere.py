"""Slices of the sphere: great circles, stereographic lines, and parallels."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_choice, check_floating
from monge._value import value
from monge.errors import InputError

from .directions import frames
from .estimate import Estimate, estimate
from .line import Balanced, Circular, LinearCircular, LineProblem
from .slicer import Linear, Slicer

__all__ = ["GreatCircles", "Stereographic", "spherical_sliced_wasserstein", "spherical_uniformity"]

_POLE = 1e-6  # radius under which an angle has no stable direction


@value
class GreatCircles(Slicer):
    r"""Projection on the great circle through two orthonormal vectors, in turns.

    The coordinate of a point $s$ is the angle of $(\langle u, s\rangle, \langle v, s\rangle)$ over $2\pi$. A point
    within $10^{-6}$ of the axis keeps an arbitrary but fixed angle, without gradient.

    Args:
        frame: (L, 2, d) orthonormal pairs; see `frames`.

    Example:
        >>> import torch
        >>> circle = GreatCircles(torch.eye(2)[None])
        >>> circle._coordinates(torch.tensor([[0.0, 1.0]]), slice(0, 1))  # a quarter turn
        tensor([[0.2500]])
    """

    frame: Float[Tensor, "slices 2 d"]

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.frame.shape[0]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        across, along = (self.frame[chunk, k] @ points.transpose(-1, -2) for k in (0, 1))
        near = across.square() + along.square() < _POLE**2
        across, along = torch.where(near, 1.0, across), torch.where(near, 0.0, along)
        turns = torch.atan2(along, across) / (2 * math.pi)
        return torch.where(turns < 0, turns + 1, turns)


@value
class Stereographic(Slicer):
    r"""Lines of the azimuthal map around a pole: stereographic projection without its radial distortion.

    With a pole $u$ and a direction $v$ orthogonal to it, the coordinate of $s$ is
    $\kappa(\langle u, s\rangle)\langle v, s\rangle$, $\kappa(c) = (\pi - \arccos c) / (\pi\sqrt{1 - c^2})$: the angle
    from $-u$ in half turns, times the share of $v$. Nothing goes to infinity; the direction at the pole itself is
    undefined, and its gradient is cut there. One frame per slice, so every slice has a pole of its own and the mean
    over uniform frames is rotation invariant without a single rotation matrix.

    Args:
        frame: (L, 2, d) orthonormal pairs: pole, direction.

    Source:
        Tran et al., Stereographic spherical sliced Wasserstein distances (arXiv 2402.02345).

    Example:
        >>> import torch
        >>> slicer = Stereographic(torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]))
        >>> slicer._coordinates(torch.tensor([[1.0, 0.0, 0.0]]), slice(0, 1))  # a quarter turn from the pole
        tensor([[0.5000]])
    """

    frame: Float[Tensor, "slices 2 d"]

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.frame.shape[0]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        height, side = (self.frame[chunk, k] @ points.transpose(-1, -2) for k in (0, 1))
        square = 1 - height.square()
        radius = square.clamp_min(_POLE**2).sqrt()
        angle = torch.atan2(radius, -height)
        south = (square < 1e-3) & (height < 0)  # the series keeps the slope where the quotient is 0 / 0
        series = 1 + square.clamp_min(0) / 6 + 3 * square.clamp_min(0).square() / 40
        return torch.where(south, series, angle / radius) * side / math.pi


_FAMILIES = ("great-circles", "linear", "stereographic", "vertical")


def spherical_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    family: str = "great-circles",
    p: float = 2.0,
    slices: int = 128,
    frame: Float[Tensor, "slices 2 d"] | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Sliced Wasserstein distances between measures on the sphere: one interface over random frames.

    ========================  ==========================================================  =========================
    family                    slice                                                       on it
    ========================  ==========================================================  =========================
    ``"great-circles"``       great circle of the frame (SSW); lengths in turns           exact circular transport
    ``"linear"``              the same (LSSOT)                                            linear circular transport
    ``"stereographic"``       line of the azimuthal map around the frame's pole (RI-S3W)  transport on the line
    ``"vertical"``            height along the frame's first vector                       transport on the line
    ========================  ==========================================================  =========================

    Args:
        x: Points on the unit sphere of R^d.
        y: Points on the same sphere.
        a: Non-negative weights of `x`, equal if None.
        b: The same for `y`.
        family: How to slice.
        p: Order, at least 1.
        slices: How many frames to draw.
        frame: Frames to use instead of drawing; sharing them between calls makes the sampled distance a pseudo-metric.
        generator: Source of the frames.

    Returns:
        An `Estimate`.

    Raises:
        InputError: Points off the sphere by more than a rounding error of 1e-3.

    Source:
        Bonet et al., Spherical sliced-Wasserstein (arXiv 2206.08780); Liu et al., Linear spherical sliced optimal
        transport (arXiv 2411.06055); Tran et al., Stereographic spherical sliced Wasserstein (arXiv 2402.02345);
        Quellmalz et al., vertical slices (arXiv 2401.16896).

    Example:
        >>> import torch
        >>> north = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        >>> g = torch.Generator().manual_seed(0)
        >>> found = spherical_sliced_wasserstein(north, -north, family="stereographic", slices=20000, generator=g)
        >>> abs(float(found.cost) - 0.5) < 0.01  # antipodal points: 1 / (d - 1)
        True
    """
    check_choice("family", family, _FAMILIES)
    for name, points in (("x", x), ("y", y)):
        _check_sphere(name, points)
    if frame is None:
        frame = frames(slices, x.shape[-1], generator=generator, dtype=x.dtype, device=x.device)
    slicer: Slicer
    line: LineProblem
    if family in ("great-circles", "linear"):
        slicer = GreatCircles(frame)
        line = Circular(p) if family == "great-circles" else LinearCircular(p)
    else:
        slicer = Stereographic(frame) if family == "stereographic" else Linear(frame[:, 0])
        line = Balanced(p)
    return estimate(x, y, a, b, slicer=slicer, line=line, block=max(1, x.shape[-1] // 2))


def spherical_uniformity(
    x: Float[Tensor, "*b n d"],
    *,
    slices: int = 128,
    frame: Float[Tensor, "slices 2 d"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*b"]:
    r"""The squared spherical sliced distance to the uniform law, in closed form: no sample of the target.

    On each great circle, with sorted positions $t_i$ in turns and equal weights $1/n$,
    $$W_2^2 = \frac1n\sum_i t_i^2 - \Big(\frac1n\sum_i t_i\Big)^2 + \frac1n\sum_i t_i\,\frac{n + 1 - 2i}{n}
    + \frac1{12}.$$
    The usual loss that spreads embeddings over the sphere.

    Args:
        x: Points on the unit sphere.
        slices: How many great circles to draw.
        frame: Frames to use instead.
        generator: Source of the frames.

    Source:
        Bonet et al., Spherical sliced-Wasserstein (arXiv 2206.08780).

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> round(float(spherical_uniformity(x, frame=torch.eye(2)[None])), 6)  # one atom: 1 / 12
        0.083333
    """
    _check_sphere("x", x)
    if frame is None:
        frame = frames(slices, x.shape[-1], generator=generator, dtype=x.dtype, device=x.device)
    turns = GreatCircles(frame)._coordinates(x, slice(None)).sort(dim=-1).values
    n = turns.shape[-1]
    rank = torch.arange(n, dtype=turns.dtype, device=turns.device)
    lean = (n - 1 - 2 * rank) / n
    return (turns.var(-1, correction=0) + (turns * lean).mean(-1) + 1 / 12).mean(-1)


def _check_sphere(name: str, points: Tensor) -> None:
    check_floating(name, points)
    radius = points.detach().norm(dim=-1)
    if points.shape[-1] < 2 or not bool(((radius - 1).abs() < 1e-3).all()):
        raise InputError(
            f"{name} must lie on the unit sphere of R^d, d >= 2, but has shape {tuple(points.shape)} and norms in "
            f"[{float(radius.min()):.4g}, {float(radius.max()):.4g}]: normalise them, "
            f"as in torch.nn.functional.normalize({name}, dim=-1)."
        )
