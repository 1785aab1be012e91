"""Better motions from the pairs of a motion: nearest points, or partial plans."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .clouds import Nearest, images
from .correspondence import Plans
from .transformation import Rigid

__all__ = ["Moments", "nearest_step", "plan_step"]


class Moments(NamedTuple):
    """Sums over weighted pairs of points: all that a rigid motion depends on."""

    mass: Float[Tensor, " p"]
    x: Float[Tensor, "p d"]
    y: Float[Tensor, "p d"]
    cross: Float[Tensor, "p d d"]  # y by x
    square_x: Float[Tensor, " p"]
    square_y: Float[Tensor, " p"]

    @classmethod
    def of(cls, weight: Float[Tensor, "p n"], x: Tensor, y: Tensor) -> Moments:
        """From pairs; either side may be the same for all motions."""
        wy, ones = weight[..., None] * y, weight[..., None, :]
        return cls(
            weight.sum(-1),
            (ones @ x)[:, 0],
            wy.sum(-2),
            wy.mT @ x,
            (ones @ x.square().sum(-1, keepdim=True))[:, 0, 0],
            (wy * y).sum((-1, -2)),
        )

    def motion(self, scale: bool, otherwise: Rigid) -> Rigid:
        """The best motion for these pairs; where there are none, the other one.

        The scale is the ratio of the spreads, which does not shrink when the pairs are uncertain.
        """
        paired = self.mass > 1e-9
        mass = self.mass.clamp_min(1e-9)
        x, y = self.x / mass[:, None], self.y / mass[:, None]
        cross = self.cross / mass[:, None, None] - y[:, :, None] * x[:, None]
        left, _, right = torch.linalg.svd(cross)
        turn = torch.ones_like(x)
        turn[:, -1] = torch.linalg.det(left @ right).sign()
        rotation = (left * turn[:, None]) @ right
        factor = otherwise.scale
        if scale:
            spread_x, spread_y = self.square_x / mass - x.square().sum(-1), self.square_y / mass - y.square().sum(-1)
            factor = (spread_y.clamp_min(1e-9) / spread_x.clamp_min(1e-9)).sqrt().clamp(0.3, 3.5)
        translation = y - factor[:, None] * (rotation @ x[..., None])[..., 0]
        found = Rigid._make(rotation=rotation, translation=translation, scale=factor)
        return Rigid._make(
            **{
                name: torch.where(paired.view(-1, *[1] * (new.ndim - 1)), new, getattr(otherwise, name))
                for name, new in found._contents().items()
            }
        )


def nearest_step(
    motion: Rigid, x: Tensor, y: Tensor, near: tuple[Nearest, Nearest], reach: float, scale: bool
) -> Rigid:
    """From the nearest pairs both ways, up to a distance of ``reach``."""
    back = motion.inverse()
    forth = _partners(images(motion, x), near[1], reach, motion.scale.rsqrt())
    home = _partners(images(back, y), near[0], reach, motion.scale.sqrt())
    pairs = (Moments.of(forth[1], x, forth[0]), Moments.of(home[1], home[0], y))
    return Moments(*(a + b for a, b in zip(*pairs, strict=True))).motion(scale, motion)


def _partners(places: Tensor, near: Nearest, reach: float, unit: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest points, and weights that fall to zero at ``reach``."""
    partner = near.points[near.index(places)]
    square = (places.mT - partner).square().sum(-1) * unit.square()[:, None]
    return partner, (1 - square / reach**2).clamp_min_(0)


def plan_step(motion: Rigid, x: Tensor, y: Tensor, price: float, scale: bool) -> Rigid:
    """From entropic partial plans, which leave a pair at more than the root of twice the price."""
    root = motion.scale.sqrt()[:, None, None]
    weight, place, square = Plans(iterations=3)._told(images(motion, x).mT / root, y / root, price)
    place = place * root
    moments = Moments(
        weight.sum(-1),
        weight @ x,
        place.sum(1),
        place.mT @ x,
        weight @ x.square().sum(-1),
        square.sum(-1) * motion.scale,
    )
    return moments.motion(scale, motion)
