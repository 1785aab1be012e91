"""Slices of the sphere: great circles, stereographic lines, and parallels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._arrays import working_dtype
from monge._checks import check_choice
from monge._users_arrays import takes_arrays
from monge._value import value
from monge.errors import InputError, ShapeError

from .._aligned_clouds import Clouds, aligned
from ..directions import directions, frames
from ..estimate import Estimate, averaged, enough
from ..line import Balanced, Circular, LinearCircular, LineProblem, visible
from ..slicer import ALL, LinearSlicer, ParametricSlicer, Slicer
from .circle import circular_embedding, circular_uniformity

__all__ = [
    "GreatCircles",
    "Stereographic",
    "on_sphere",
    "over_frames",
    "rotated_frames",
    "spherical_embedding",
    "spherical_sliced_wasserstein",
    "spherical_uniformity",
]

_POLE = 1e-6  # radius under which an angle has no stable direction


class _OfSphere(ParametricSlicer):
    """Slices of the sphere by frames."""

    frame: Tensor
    _core: ClassVar[int] = 2

    def _prepared(self, clouds: Clouds) -> Clouds:
        return _rounded(clouds, super()._prepared(clouds))

    def _products(self, points: Tensor, chunk: slice) -> Iterator[Tensor]:
        """Products with the first and the second vector of every frame."""
        return (self.frame[..., chunk, k, :].to(points.dtype) @ points.mT for k in (0, 1))


@value
class GreatCircles(_OfSphere):
    r"""Projection on the great circle through two orthonormal vectors, in turns.

    The coordinate of a point $s$ is the angle of $(\langle u, s\rangle, \langle v, s\rangle)$ over $2\pi$. A point
    within $10^{-6}$ of the axis has no coordinate; on this slice its mass goes to the other points.

    Args:
        frame: (*b, L, 2, d) orthonormal pairs; see `frames`.

    Example:
        >>> import torch
        >>> circle = GreatCircles(torch.eye(2)[None])
        >>> circle._coordinates(torch.tensor([[0.0, 1.0]]), slice(0, 1))  # a quarter turn
        tensor([[0.2500]])
    """

    frame: Float[Tensor, "*b slices 2 d"]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        across, along = self._products(points, chunk)
        near = across.square() + along.square() < _POLE**2
        across, along = torch.where(near, 1.0, across), torch.where(near, 0.0, along)
        turns = torch.atan2(along, across) / (2 * math.pi)
        return torch.where(turns < 0, turns + 1, turns)

    @torch.no_grad()
    def _seen(self, points: Tensor, chunk: slice) -> Tensor | None:
        if self.frame.shape[-1] == 2:
            return None
        across, along = self._products(points, chunk)
        seen = across.square_().addcmul_(along, along) >= _POLE**2
        return None if bool(seen.all()) else seen


@value
class Stereographic(_OfSphere):
    r"""Lines of the azimuthal map around a pole: stereographic projection without its radial distortion.

    With a pole $u$ and a direction $v$ orthogonal to it, the coordinate of $s$ is
    $\kappa(\langle u, s\rangle)\langle v, s\rangle$, $\kappa(c) = (\pi - \arccos c) / (\pi\sqrt{1 - c^2})$: the angle
    from $-u$ in half turns, times the share of $v$. No coordinate is infinite; at the pole itself the direction is
    undefined, and its gradient is limited there. Every slice has its own frame and so its own pole, and the mean over
    uniform frames does not change under rotations, although no rotation matrix is used.

    Args:
        frame: (*b, L, 2, d) orthonormal pairs: pole, direction.

    Source:
        Tran, Bai, Kothapalli, Shahbazi, Liu, Diaz Martin, Kolouri, Stereographic spherical sliced Wasserstein distances
        (arXiv 2402.02345).

    Example:
        >>> import torch
        >>> slicer = Stereographic(torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]))
        >>> slicer._coordinates(torch.tensor([[1.0, 0.0, 0.0]]), slice(0, 1))  # a quarter turn from the pole
        tensor([[0.5000]])
    """

    frame: Float[Tensor, "*b slices 2 d"]

    def _coordinates(self, points: Tensor, chunk: slice) -> Tensor:
        height, side = self._products(points, chunk)
        square = 1 - height.square()
        radius = square.clamp_min(_POLE**2).sqrt()
        angle = torch.atan2(radius, -height)
        south = (square < 1e-3) & (height < 0)  # the series keeps the gradient where the quotient is 0 / 0
        series = 1 + square.clamp_min(0) / 6 + 3 * square.clamp_min(0).square() / 40
        return torch.where(south, series, angle / radius) * side / math.pi


_SLICERS: dict[str, Callable[[Tensor], Slicer]] = {
    "great-circles": GreatCircles,
    "linear": GreatCircles,
    "stereographic": Stereographic,
    "vertical": lambda frame: LinearSlicer(frame[..., 0, :]),
}
_LINES = {"great-circles": Circular, "linear": LinearCircular, "stereographic": Balanced, "vertical": Balanced}


@takes_arrays
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
    tol: float | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""Sliced Wasserstein distances between measures on the sphere: several families of slices with one interface.

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
        tol: Draw more frames until the standard error of the cost is at most this share of it, see `refine`.
        generator: Source of the frames.

    Returns:
        An `Estimate`. Unbalanced measures: ``estimate(x, y, slicer=GreatCircles(frame), line=Unbalanced(rho,
        Circular()))``, and the same with `Stereographic` and `Balanced`.

    Raises:
        InputError: Points off the sphere by more than a rounding error of 1e-3.

    Source:
        Bonet et al., Spherical sliced-Wasserstein (arXiv 2206.08780); Liu, Bai, Diaz Martin, Shi, Shahbazi, Landman,
        Chang, Kolouri, Linear spherical sliced optimal transport: A fast metric for comparing spherical data (arXiv
        2411.06055); Tran, Bai, Kothapalli, Shahbazi, Liu, Diaz Martin, Kolouri, Stereographic spherical sliced
        Wasserstein distances (arXiv 2402.02345); Quellmalz et al., vertical slices (arXiv 2401.16896).

    Example:
        >>> import torch
        >>> north = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        >>> g = torch.Generator().manual_seed(0)
        >>> found = spherical_sliced_wasserstein(north, -north, family="stereographic", slices=20000, generator=g)
        >>> abs(float(found.cost) - 0.5) < 0.01  # antipodal points: 1 / (d - 1)
        True
    """
    check_choice("family", family, _LINES)
    clouds = on_sphere(x, y, a, b, frame=frame)
    return over_frames(clouds, family, _LINES[family](p), frame, slices, generator, tol)._made_of(x.dtype)


@takes_arrays
def spherical_embedding(
    x: Float[Tensor, "*b n d"],
    a: Float[Tensor, "*b n"] | None = None,
    *,
    frame: Float[Tensor, "slices 2 d"],
    size: int = 256,
) -> Float[Tensor, "*b slices size"]:
    """The linear spherical sliced embedding (LSSOT): each great circle's `circular_embedding`, in turns.

    If all measures use the same frames, the root mean square of the wrapped differences of two embeddings is the
    distance of ``spherical_sliced_wasserstein(family="linear")``, up to the grid. So each measure is sorted once, and
    then every distance is a distance of vectors. The uniform measure maps to zero.

    Args:
        x: Points on the unit sphere.
        a: Non-negative weights, equal if None. Points on the axis of a circle give their mass to the others there.
        frame: The great circles, see `frames`.
        size: Grid points per circle.

    Source:
        Liu, Bai, Diaz Martin, Shi, Shahbazi, Landman, Chang, Kolouri, Linear spherical sliced optimal transport: A fast
        metric for comparing spherical data (arXiv 2411.06055).

    Example:
        >>> import torch
        >>> ring = torch.arange(400.0) * torch.pi / 200
        >>> circle = torch.stack([ring.cos(), ring.sin()], -1)
        >>> bool(spherical_embedding(circle, frame=torch.eye(2)[None], size=8).abs().max() < 0.01)
        True
    """
    return circular_embedding(*_on_circles(x, a, frame), size=size).to(x.dtype)


@takes_arrays
def rotated_frames(
    rotation: Float[Tensor, "rotations d d"], count: int, *, generator: torch.Generator | None = None
) -> Float[Tensor, "slices 2 d"]:
    """Frames that share poles: for each rotation, ``count`` directions around the pole that it turns to the north.

    These are `Stereographic` slices in the published form: a few rotations times many projections. The identity alone
    gives the plain distance around the last axis (S3W). Haar rotations give the rotation-invariant distance (RI-S3W).
    Rotations from a stored pool (ARI-S3W) need not be drawn again. At the same cost, `frames`, in which every slice has
    its own pole, have a smaller variance. Slices of one rotation are not independent: pass ``block=count`` to
    `estimate`.

    Args:
        rotation: Orthogonal matrices, see `rotations`.
        count: Directions for each.
        generator: Source of the directions.

    Source:
        Tran, Bai, Kothapalli, Shahbazi, Liu, Diaz Martin, Kolouri, Stereographic spherical sliced Wasserstein distances
        (arXiv 2402.02345).

    Example:
        >>> import torch
        >>> pool = rotations(100, 3, generator=torch.Generator().manual_seed(0))
        >>> some = pool[torch.randperm(100)[:5]]
        >>> rotated_frames(some, 8).shape
        torch.Size([40, 2, 3])
    """
    each, d = len(rotation), rotation.shape[-1]
    if rotation.ndim != 3 or rotation.shape[-2] != d or d < 2:
        raise ShapeError(f"rotation must have shape (rotations, d, d), d >= 2, but has {tuple(rotation.shape)}.")
    around = directions(each * count, d - 1, "iid", generator=generator, dtype=rotation.dtype, device=rotation.device)
    side = around.reshape(each, count, d - 1) @ rotation[:, :-1]
    return torch.stack([rotation[:, -1:].expand(each, count, d), side], -2).flatten(0, 1)


@takes_arrays
def spherical_uniformity(
    x: Float[Tensor, "*b n d"],
    a: Float[Tensor, "*b n"] | None = None,
    *,
    slices: int = 128,
    frame: Float[Tensor, "slices 2 d"] | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*b"]:
    """The squared spherical sliced distance to the uniform law, the mean of `circular_uniformity` over great circles.

    This is a common loss that spreads embeddings over the sphere. It needs no sample of the uniform law.

    Args:
        x: Points on the unit sphere.
        a: Non-negative weights, equal if None.
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
    frame, _ = _drawn(x, frame, slices, generator)
    return circular_uniformity(*_on_circles(x, a, frame)).mean(-1).to(x.dtype)


def _on_circles(x: Tensor, a: Tensor | None, frame: Tensor) -> tuple[Tensor, Tensor | None]:
    """Coordinates and weights on every circle."""
    slicer, clouds = GreatCircles(frame), on_sphere(x, x, a, frame=frame)
    turns, _, weights, _ = slicer._lines(clouds)
    seen = slicer._seen(clouds.x, ALL)
    return turns, weights if seen is None else visible(turns, weights, seen)


def over_frames(
    clouds: Clouds,
    family: str,
    line: LineProblem,
    frame: Tensor | None,
    slices: int,
    generator: torch.Generator | None,
    tol: float | None = None,
) -> Estimate:
    """The mean over the slices of a family by the frames that are given, or drawn ones."""

    def draw(count: int) -> Estimate:
        given, block = _drawn(clouds.x, frame, count, generator)
        return averaged(clouds, _SLICERS[family](given), line, block=block)

    return enough(draw, slices, tol if frame is None else None)


def _drawn(x: Tensor, frame: Tensor | None, count: int, generator: torch.Generator | None) -> tuple[Tensor, int]:
    """The frames that are given, or drawn ones, and how many were drawn together."""
    if frame is not None:
        return frame, 1
    d = x.shape[-1]
    return frames(count, d, generator=generator, dtype=working_dtype(x), device=x.device), max(1, d // 2)


def on_sphere(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    frame: Tensor | None = None,
    masses: bool = False,
) -> Clouds:
    """Aligned clouds of norm one, up to rounding; half precision comes back in single, normalised."""
    clouds = aligned(x, y, a, b, slices=() if frame is None else frame.shape[:-3], masses=masses)
    wide = clouds.wide()
    for name, points in (("x", wide.x), ("y", wide.y)):
        radius = points.detach().norm(dim=-1)
        allowed = max(1e-3, 2 * torch.finfo(x.dtype).eps)
        if points.shape[-1] < 2 or not bool(((radius - 1).abs() < allowed).all()):
            raise InputError(
                f"{name} must lie on the unit sphere of R^d, d >= 2, but has shape {tuple(points.shape)} and norms in "
                f"[{float(radius.min()):.4g}, {float(radius.max()):.4g}]: normalise them, "
                f"as in torch.nn.functional.normalize({name}, dim=-1)."
            )
    return _rounded(clouds, wide)


def _rounded(clouds: Clouds, wide: Clouds) -> Clouds:
    """Points of half precision are off the sphere by more than single precision would be: back to it."""
    if wide.x.dtype == clouds.x.dtype:
        return wide
    return wide._replace(x=normalize(wide.x, dim=-1), y=normalize(wide.y, dim=-1))
