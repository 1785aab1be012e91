"""Rigid registration: rotation, translation and, optionally, scale."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_points, check_same, check_single
from monge._users_arrays import takes_arrays
from monge.errors import ShapeError
from monge.sliced import rotations

from .correspondence import Correspondence, Goals, Plans, Slices
from .result import Progress, Registration, Steps
from .transformation import Rigid

__all__ = ["prepared", "procrustes", "rigid", "spread", "start_rotations"]

LAST_STEPS, REST = 140, 20  # steps of the last stage, and how many of them rest at one price


@takes_arrays
@torch.no_grad()
def rigid(
    source: Float[Tensor, "n d"],
    target: Float[Tensor, "m d"],
    *,
    matching: Correspondence | None = None,
    scale: bool = False,
    starts: int | None = None,
    penalty: float | None = None,
    polish: int = 10,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Registration:
    r"""The rigid motion that moves a part of one cloud onto a part of another; outliers on both sides are ignored.

    Two steps alternate: partial transport finds which points belong together, and a weighted Procrustes problem finds
    the motion. Meanwhile the penalty becomes smaller, from the size of the clouds to the size of their noise:
    $$\min_{R, t, \gamma} \sum_{ij} \gamma_{ij} |R x_i + t - y_j|^2 + \lambda (n + m - 2 |\gamma|).$$
    Many evenly spread rotations are tried on a few points first. The best three of them are tried on more points, and
    the best one on all points. When fewer points are matched than before, the penalty has reached the size of the
    noise, and stays there.

    Args:
        source: Points to move; they may contain outliers.
        target: Points to move them to; they may contain outliers, too.
        matching: How partners are found, `Slices` (default, $O(n \log n)$ a step) or `Plans`.
        scale: Whether to find a scale too.
        starts: Number of rotations to try; None is 12 in the plane and 60 in space. One of them is no rotation.
        penalty: The last penalty, in squared units of the target; None finds it.
        polish: Number of last steps, at the last penalty, which always use `Plans`. Their time is quadratic, and if
            there is noise, their result is much closer to the truth. Zero leaves them out.
        generator: Source of slices, and of the points for the first tries.
        progress: Called after every step with the number of steps made and the most there can be.

    Returns:
        A `Registration` whose transformation is `Rigid`.

    Source:
        Bai, Schmitzer, Thorpe, Kolouri, Sliced optimal partial transport (arXiv 2212.08049).

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
    """
    x, y = prepared(source, target, penalty)
    d = x.shape[-1]
    count = {1: 1, 2: 12}.get(d, 60) if starts is None else starts
    check_number("starts", count, low=1)
    check_number("polish", polish, low=0)
    told = Steps(progress, sum(look.steps for look in LOOKS) + LAST_STEPS + polish)
    search = _Search(x, y, spread(y), Slices() if matching is None else matching, scale, generator, told)
    motion = search.looked(search.turned(start_rotations(d, count, generator).to(x)))
    motion, goals, price = search.settled(motion, penalty)
    for _ in range(polish):
        motion, goals = search.step(motion, price, Plans(), 3)
    return Registration._of(motion._pick(0), goals, price, told.done, source.dtype)


class _Look(NamedTuple):
    """A look at some points only, while the price falls."""

    first: float  # the prices, in squares of the size of the target
    last: float
    steps: int
    seen: int  # points of either cloud
    kept: int  # motions that go on


LOOKS = (_Look(1.0, 3e-3, 36, 120, 3), _Look(3e-2, 1e-4, 24, 600, 1))


class _Search(NamedTuple):
    """Two clouds, and how motions between them are found: matches and motions by turns."""

    x: Tensor
    y: Tensor
    size: float
    matching: Correspondence
    scale: bool
    generator: torch.Generator | None
    told: Steps

    def turned(self, rotation: Tensor) -> Rigid:
        """Motions by rotations about the medians, which they lay on each other."""
        centre_x, centre_y = self.x.median(0).values, self.y.median(0).values
        factor = self.size / spread(self.x) if self.scale else 1.0
        translation = centre_y - factor * rotation @ centre_x
        return Rigid._make(
            rotation=rotation, translation=translation, scale=rotation.new_full((len(rotation),), factor)
        )

    def step(
        self, motion: Rigid, price: float, matching: Correspondence, effort: int, overshoot: float = 1.0
    ) -> tuple[Rigid, Goals]:
        """Motions that suit the goals of the motions given, and these goals."""
        moved = motion._apply(self.x)
        goals = matching._match(moved, self.y, price, effort, self.generator)
        beyond = goals._replace(place=moved + overshoot * (goals.place - moved))
        self.told.tell()
        return procrustes(self.x, beyond, self.scale), goals

    def looked(self, motion: Rigid) -> Rigid:
        """Of many motions the one that looks best, on a few points first, then on more of them."""
        for effort, look in enumerate(LOOKS, 1):
            some = self._replace(x=_some(self.x, look.seen, self.generator), y=_some(self.y, look.seen, self.generator))
            prices = torch.logspace(math.log10(look.first), math.log10(look.last), look.steps, dtype=torch.float64)
            for price in (prices * self.size**2).tolist():
                motion, _ = some.step(motion, price, self.matching, effort)
            gain = some.gain(motion, look.last * self.size**2)
            motion = motion._pick(gain.topk(min(look.kept, len(gain))).indices)
        return motion

    def gain(self, motion: Rigid, price: float) -> Float[Tensor, " motions"]:
        """How much every motion has to offer."""
        middle = self.y.mean(0)
        return Plans()._gain(motion._apply(self.x) - middle, self.y - middle, price)

    def settled(self, motion: Rigid, penalty: float | None) -> tuple[Rigid, Goals, float]:
        """The motion at the last price before matched points become fewer, and a price for what is left to do."""
        floor = 1e-12 * self.size**2 if penalty is None else float(penalty)
        fall, most, best = _Fall(max(1e-3 * self.size**2, floor), floor), 0.0, None
        for _ in range(LAST_STEPS):
            motion, goals = self.step(motion, fall.price, self.matching, 3, self.matching._overshoot)
            mass = float(goals.weight.sum())
            if mass >= 0.5 * most or penalty is not None:
                most, best = max(most, mass), (motion, goals, fall.price)
                fall.on()
            elif not fall.back():
                break
        assert best is not None
        motion, goals, price = best
        return motion, goals, price if penalty is not None else max(3 * price, floor)


class _Fall:
    """A price that falls by a quarter a step, and may have to go back."""

    def __init__(self, price: float, floor: float):
        self.price, self.floor, self.stopped, self.resting = price, floor, math.inf, 0

    def on(self) -> None:
        """Down, unless it still rests."""
        if self.resting > 0:
            self.resting -= 1
        else:
            self.price = max(0.75 * self.price, self.floor)

    def back(self) -> bool:
        """At the noise, or not there yet: rest at a higher price, once, and see whether it falls further then."""
        if self.price > 0.5 * self.stopped:
            return False
        self.stopped, self.price, self.resting = self.price, 3 * self.price, REST
        return True


def procrustes(x: Float[Tensor, "n d"], goals: Goals, scale: bool) -> Rigid:
    """The motions that bring weighted points closest to their goals."""
    weight = goals.weight.clamp_min(1e-12)
    weight = weight / weight.sum(-1, keepdim=True)
    mean_x = (weight[..., None] * x).sum(-2, keepdim=True)
    mean_y = (weight[..., None] * goals.place).sum(-2, keepdim=True)
    centred = x - mean_x
    cross = (weight[..., None] * (goals.place - mean_y)).mT @ centred
    left, stretch, right = torch.linalg.svd(cross)
    turn = torch.ones_like(stretch)
    turn[..., -1] = torch.where(torch.linalg.det(left @ right) < 0, -1.0, 1.0)
    rotation = (left * turn[..., None, :]) @ right
    factor = torch.ones_like(stretch[..., 0])
    if scale:
        factor = (stretch * turn).sum(-1) / (weight[..., None] * centred.square()).sum((-1, -2))
    moved = factor[..., None] * (rotation @ mean_x.mT)[..., 0]
    return Rigid._make(rotation=rotation, translation=mean_y[..., 0, :] - moved, scale=factor)


def start_rotations(d: int, count: int, generator: torch.Generator | None) -> Float[Tensor, "count d d"]:
    """No rotation, and others evenly spread: equal angles, a spiral of quaternions, or random ones."""
    first = torch.eye(d, dtype=torch.float64)[None]
    if count == 1 or d == 1:
        return first
    if d == 2:
        angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
        return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).reshape(-1, 2, 2)
    if d == 3:
        return torch.cat([first, _spiral(count - 1)])
    drawn = rotations(count - 1, d, generator=generator)
    drawn[..., 0] *= torch.linalg.det(drawn).sign()[:, None]
    return torch.cat([first, drawn])


def _spiral(count: int) -> Tensor:
    """Quaternions on a spiral over the three-sphere (Alexa, Super-Fibonacci spirals, 2022), as matrices."""
    s = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (s / count).sqrt(), (1 - s / count).sqrt()
    alpha, beta = 2 * math.pi * s / math.sqrt(2), 2 * math.pi * s / 1.533751168755204288118041
    x, y, z, w = inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return torch.eye(3, dtype=torch.float64) + 2 * (w[:, None, None] * cross + cross @ cross)


def spread(points: Float[Tensor, "n d"]) -> float:
    """A size of the cloud that outliers hardly change: twice the median distance from the median."""
    distance = (points - points.median(0).values).norm(dim=-1)
    return max(2 * float(distance.median()), float(distance.max()) * 1e-6, 1e-150)


def prepared(source: Tensor, target: Tensor, penalty: float | None) -> tuple[Tensor, Tensor]:
    """Two single clouds of one space, in float64, and a price that is positive."""
    check_points("source", source)
    check_points("target", target)
    check_same(source=source, target=target)
    check_single(source=source, target=target)
    if source.shape[-1] != target.shape[-1]:
        raise ShapeError(
            f"source and target must live in one space, but have dimension {source.shape[-1]} and {target.shape[-1]}."
        )
    if penalty is not None:
        check_number("penalty", float(penalty), low=0.0, strict=True)
    return source.detach().double(), target.detach().double()


def _some(points: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    if len(points) <= count:
        return points
    return points[torch.randperm(len(points), generator=generator)[:count].to(points.device)]
