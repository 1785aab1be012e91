"""Rigid registration: rotation, translation and, optionally, scale."""

from __future__ import annotations

import math
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from monge._users_arrays import takes_arrays
from monge.coupling import PotentialCoupling
from monge.errors import ConvergenceWarning, InputError, ShapeError
from monge.geometry import PointCloud
from monge.kernels import Points

from .clouds import Frame, prepared, seen
from .correspondence import Plans
from .gain import gain as gain_of
from .gain import residual
from .result import Progress, RigidRegistration, Steps, Verdict
from .search import Views, falling, joined, search, search_steps
from .settle import Settled, polished, settled, settled_steps
from .transformation import Rigid

__all__ = ["rigid"]

CLEAR = 1.0  # the margin of a sure motion, in nats
LEAST = 0.1  # the least share of points with a partner
NEAR_STEPS = 8  # from a motion that is given


@takes_arrays
@torch.no_grad()
def rigid(
    source: Float[Tensor, "n d"],
    target: Float[Tensor, "m d"],
    *,
    scale: bool = False,
    start: Rigid | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> RigidRegistration:
    r"""The rigid motion that moves a part of one cloud onto a part of another; outliers on both sides are ignored.

    The plan of a motion moves points to partners at squared distance $r^2 = |s R x + t - y|^2 / s$, or leaves them at a
    price $\lambda$:
    $$\min_{\gamma} \sum_{ij} \gamma_{ij} r_{ij}^2 + \lambda (n + m - 2 |\gamma|).$$
    A motion gains the logarithm of the likelihood of the distances from the other cloud,
    $$\sum_{\text{clouds}} \frac1n \sum_i \log \bigl( w (\rho/\sigma)^d e^{-r_i^2/2\sigma^2} + (1 - w) b(r_i) \bigr),
    \qquad 2 \lambda = 2\sigma^2 \log \frac{w\,(\rho/\sigma)^d}{1-w},$$
    at the best $\sigma$. Here $\rho$ grows with the distance between neighbours, and $b$ is one for clutter and for
    points that the other cloud does not reach, but small for a point of the object that lies near the other cloud and
    has no partner: that is a conflict. So a motion does not gain by overlap alone.

    Pairs (in space triples) of source points propose motions that lay them on congruent target points. The best motions
    are improved by nearest points and by partial plans. Nothing has to be known about the overlap or the outliers, and
    the answer depends on neither origin nor unit. The search takes the same time for any number of points; the last
    steps look at all of them, and the plan takes quadratic time and linear memory.

    Args:
        source: Points to move; they may contain outliers.
        target: Points to move them to; they may contain outliers, too.
        scale: Whether to find a scale too. Otherwise it is the scale of ``start``, or one.
        start: A motion close to the right one. Then nothing is searched: the motion is only improved.
        generator: Source of the points and bases that are drawn.
        progress: Called after every step with the number of steps made and the most there can be.

    Returns:
        A `RigidRegistration`: the motion, the plan, and a verdict about them.

    Raises:
        InputError: If a cloud is not finite, or all its points are equal.
        ShapeError: If a cloud has fewer than d + 1 points, there is a batch, or dimensions differ.

    Warns:
        ConvergenceWarning: If the verdict is "ambiguous" or "failed".

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049), for the objective; Aiger,
        Mitra, Cohen-Or, 4-points congruent sets for robust pairwise surface registration (2008), for the bases.

    Example:
        >>> import torch
        >>> from monge.registration import rigid
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.randn(80, 2, generator=g, dtype=torch.float64) * torch.tensor([3.0, 1.0]).double()
        >>> quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        >>> y = torch.cat([x @ quarter.T + 5.0, 20 * torch.rand(40, 2, generator=g, dtype=torch.float64)])
        >>> found = rigid(x, y, generator=g)
        >>> bool((found.transformation.rotation - quarter).abs().max() < 1e-3)
        True
        >>> found.verdict.name
        'SURE'
    """
    x, y = (points.cpu() for points in prepared(source, target))
    d = x.shape[-1]
    if start is not None:
        _check_start(start, d)
    steps = settled_steps() + (search_steps(d) if start is None else NEAR_STEPS)
    frames = _frames(x, y, scale)
    seen_x, seen_y = (seen(frame.inside(points), generator) for frame, points in zip(frames, (x, y), strict=True))
    views = Views(seen_x, seen_y, scale, generator, Steps(progress, steps))
    if start is None:
        motion = search(views)
    else:
        near = _inside(start.to("cpu", torch.float64), *frames)._map(lambda held: held[None].float())
        motion = views.approach(near, 400, falling(0.2, 2 * views.reference, NEAR_STEPS), 1.5)
    found = polished(views, joined([settled(views, motion), motion.to(torch.float64)]))
    answer = _answer(views, found, frames, source, target, start is not None)
    if not answer.converged:
        warnings.warn(f"{answer.verdict.value} The margin is {answer.margin:.2g}.", ConvergenceWarning, stacklevel=2)
    return answer


def _check_start(start: Rigid, d: int) -> None:
    """One motion of the points, not a batch, and not the registration that holds it."""
    remedy = f"pass a Rigid with a rotation ({d}, {d}), a translation ({d},) and a scale ()"
    if not isinstance(start, Rigid):
        raise InputError(f"start must be a Rigid, but is {type(start).__name__}: {remedy}.")
    if start.translation.shape != (d,):
        raise ShapeError(
            f"start must be one motion of {d} dimensions, those of the points, but its translation has shape "
            f"{tuple(start.translation.shape)}: {remedy}."
        )


def _frames(x: Tensor, y: Tensor, scale: bool) -> tuple[Frame, Frame]:
    """Each cloud in its own unit if the scale is not known, and both in one otherwise."""
    source, target = Frame.of("source", x), Frame.of("target", y)
    if scale:
        return source, target
    unit = max(source.unit, target.unit)
    return source._replace(unit=unit), target._replace(unit=unit)


def _inside(motion: Rigid, x: Frame, y: Frame) -> Rigid:
    """A motion between the clouds as one between their frames."""
    moved = motion._apply(x.centre[None])[0]
    return motion._replace(translation=(moved - y.centre) / y.unit, scale=motion.scale * (x.unit / y.unit))


def _outside(motion: Rigid, x: Frame, y: Frame) -> Rigid:
    """A motion between the frames as one between the clouds."""
    scale = motion.scale * (y.unit / x.unit)
    translation = y.centre + y.unit * motion.translation - scale * (motion.rotation @ x.centre)
    return motion._replace(translation=translation, scale=scale)


def _answer(
    views: Views, found: Settled, frames: tuple[Frame, Frame], source: Tensor, target: Tensor, near: bool
) -> RigidRegistration:
    """What was found, in the units, the precision and the place of the points, and what can be said about it."""
    motion, d = found.motion, source.shape[-1]
    x, y = views.x.all, views.y.all
    r = residual(motion, x.points, views.y.exact), residual(motion.inverse(), y.points, views.x.exact)
    gain = gain_of(r, (x.structure, y.structure), views.reference, d, turns=50)
    share, sigma, unit = gain.share[0], float(gain.sigma), float(motion.scale) * frames[1].unit ** 2
    odds = float((share / (1 - share)).log().mean()) + d * math.log(views.reference / sigma)
    price = sigma**2 * max(odds, 0.1)
    root = motion.scale.sqrt()[:, None, None]
    pairs = Points(motion._apply(x.points) / root, y.points / root)
    f, g = Plans()._potentials(pairs, price, 2 * sigma**2)
    paired, square = torch.cat([*gain.paired], -1)[0], torch.cat(r, -1)[0].square()
    outside, rival = (_outside(one._pick(0), *frames).to(source) for one in (motion, found.rival))
    plan = PotentialCoupling(
        PointCloud(outside._apply(source.detach()), target.detach()),
        ((f[0] + 2 * price) * unit).to(source), (g[0] * unit).to(source),
        torch.ones_like(source[:, 0]), torch.ones_like(target[:, 0]), 2 * sigma**2 * unit,
    )  # fmt: skip
    return RigidRegistration(
        transformation=outside,
        goal=plan.barycentric(target.detach()),
        weights=gain.paired[0][0].to(source),
        penalty=price * unit,
        iterations=views.told.done,
        plan=plan,
        target_weights=gain.paired[1][0].to(source),
        fitness=share.to(source),
        rmse=float((paired * square).sum() / paired.sum().clamp_min(1e-300) * unit) ** 0.5,
        margin=found.margin,
        runner_up=rival,
        verdict=_verdict(found.margin, share, gain.paired, d, near),
    )


def _verdict(margin: float, share: Tensor, paired: tuple[Tensor, Tensor], d: int, near: bool) -> Verdict:
    """Failed without partners, refined without a search, and otherwise by what the runner-up offers."""
    if float(share.min()) < LEAST or min(float(part.sum()) for part in paired) < 3 * d:
        return Verdict.FAILED
    if near:
        return Verdict.REFINED
    return Verdict.SURE if margin >= CLEAR else Verdict.AMBIGUOUS
