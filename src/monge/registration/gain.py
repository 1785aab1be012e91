"""What a motion is worth: pairs count for it, conflicts count against it, and what finds no partner is free."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .clouds import Nearest, Some, images
from .transformation import Rigid

__all__ = ["Gain", "distinct", "gain", "gained", "positions", "residual", "worth"]

CLOSE = 0.1  # a point of the object without a partner is a conflict if the other cloud is closer than this
SHARPNESS = torch.tensor([0.15, 0.25, 0.4, 0.6, 1.0])  # of a pair, in units of what the spacing can tell
CONFLICT = 0.03  # the likelihood of a conflict


def residual(motion: Rigid, points: Float[Tensor, "n d"], near: Nearest) -> Float[Tensor, "p n"]:
    """Distances from the other cloud, where neither to shrink nor to grow has an advantage."""
    return near.distance(images(motion, points)) * motion.scale.rsqrt()[:, None]


def free(r: Float[Tensor, "p n"], structure: Float[Tensor, " n"], conflict: float) -> Float[Tensor, "p n"]:
    """How likely a point has no partner: one for clutter and out of reach, less on the object near the other cloud."""
    least = 1 - (1 - conflict) * structure
    return least + (1 - least) * (r * (2 / CLOSE) - 1).clamp_(0, 1)


def worth(r: Tensor, structure: Tensor, sigma: float, conflict: float) -> Float[Tensor, " p"]:
    """A quick look at some points."""
    return torch.exp(r.square() * (-0.5 / sigma**2)).mul_(4).add_(free(r, structure, conflict)).log_().mean(-1)


class Gain(NamedTuple):
    """What motions have to offer, and at which sharpness of their pairs."""

    value: Float[Tensor, " p"]
    sigma: Float[Tensor, " p"]
    share: Float[Tensor, "p 2"]  # of the points of either cloud that have a partner
    paired: tuple[Float[Tensor, "p n"], Float[Tensor, "p m"]]  # probabilities of it


def gain(r: tuple[Tensor, Tensor], structure: tuple[Tensor, Tensor], reference: float, d: int, turns: int = 4) -> Gain:
    r"""The likelihood of the distances, for the sharpness that suits them best.

    The ratio of the two terms is $e^{(2\lambda - r^2) / 2\sigma^2}$, where $2 \lambda$ is what it costs to leave both
    points without a partner: likelihood and partial transport are two names of one thing.
    """
    sigma = reference * SHARPNESS.to(r[0])
    value, shares, paired = torch.zeros_like(r[0][:, :1]), [], []
    for distance, object_ in zip(r, structure, strict=True):
        square = distance.square()[:, None] / (2 * sigma.square()[:, None])
        near = torch.exp(-square) * (reference / sigma[:, None]) ** d
        alone = free(distance, object_, CONFLICT)[:, None]
        w = torch.full_like(near[..., :1], 0.5)
        for _ in range(turns):
            likely = w * near
            w = (likely / (likely + (1 - w) * alone)).mean(-1, keepdim=True).clamp(1e-6, 1 - 1e-6)
        likely = w * near
        both = likely + (1 - w) * alone
        value = value + both.log().mean(-1) + 0.1 * w[..., 0].log()
        shares.append(w[..., 0])
        paired.append(likely / both)
    best = value.max(-1)
    at = best.indices
    few = torch.arange(len(at))
    return Gain(
        best.values,
        sigma[at],
        torch.stack([share[few, at] for share in shares], -1),
        (paired[0][few, at], paired[1][few, at]),
    )


def gained(motion: Rigid, x: Some, y: Some, near: tuple[Nearest, Nearest], reference: float, turns: int = 4) -> Gain:
    """The gain of motions on points of both clouds."""
    r = residual(motion, x.points, near[1]), residual(motion.inverse(), y.points, near[0])
    return gain(r, (x.structure, y.structure), reference, x.points.shape[-1], turns)


def positions(motion: Rigid) -> Float[Tensor, "p k"]:
    """Coordinates whose distances are how far two motions bring the object apart, in root mean square."""
    d = motion.translation.shape[-1]
    half = torch.cat([torch.eye(d), -torch.eye(d)]).to(motion.translation) / 2
    return images(motion, half).flatten(1) / (2 * d) ** 0.5


def distinct(motion: Rigid, value: Float[Tensor, " p"], radius: float, count: int) -> Tensor:
    """The best motions that are not within ``radius`` of a better one, the best one first."""
    order = value.argsort(descending=True, stable=True)
    place = positions(motion)[order].numpy()
    left, kept = torch.arange(len(order)).numpy(), []
    while len(left) and len(kept) < count:
        kept.append(int(left[0]))
        away = ((place[left] - place[left[0]]) ** 2).sum(-1) > radius**2
        away[0] = False
        left = left[away]
    return order[kept]
