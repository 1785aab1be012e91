"""Clouds as the search sees them: without origin and unit, with what lies near every place."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from monge._checks import check_clouds, check_single
from monge.errors import InputError, ShapeError

from .transformation import Rigid

__all__ = ["Cloud", "Exact", "Frame", "Nearest", "images", "prepared", "seen", "spread"]

REACH = 0.2  # how far a table looks for a point
SIDE = {1: 2000, 2: 220, 3: 56}  # cells along the longest side of a table
EXTENT = 3.0  # what lies farther from the middle of its cloud is none of the object
TABLED, BRUTE, DRAWN = 1500, 400, {1: 250, 2: 250}  # points of a table, of brute force, and those that bases use


def spread(points: Float[Tensor, "n d"]) -> float:
    """A size of the cloud that outliers hardly change: twice the median distance from the median."""
    distance = (points - points.median(0).values).norm(dim=-1)
    return max(2 * float(distance.median()), float(distance.max()) * 1e-6, 1e-150)


def prepared(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Two single clouds of one space, in float64."""
    check_clouds(source, target, names=("source", "target"))
    check_single(source=source, target=target)
    return source.detach().double(), target.detach().double()


class Frame(NamedTuple):
    """Where a cloud is, and how large."""

    centre: Float[Tensor, " d"]
    unit: float

    @classmethod
    def of(cls, name: str, points: Float[Tensor, "n d"]) -> Frame:
        """The median, and a length that outliers hardly change: about the size of the object."""
        n, d = points.shape
        if n < d + 1:
            raise ShapeError(
                f"{name} must hold at least d + 1 = {d + 1} points, since fewer do not determine a rotation in {d} "
                f"dimensions, but holds {n}: give more points."
            )
        if bool((points == points[0]).all()):
            raise InputError(
                f"{name} must hold different points, but all its {n} points are equal: a point has no rotation."
            )
        return cls(points.median(0).values, 1.2 * spread(points))

    def inside(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The points in these units."""
        return (points - self.centre) / self.unit


class Nearest(Protocol):
    """A cloud that knows which of its points are near a place."""

    points: Float[Tensor, "m d"]

    def index(self, places: Float[Tensor, "p d n"]) -> Int[Tensor, "p n"]:
        """The nearest point, or some other point if none is near."""
        ...

    def distance(self, places: Float[Tensor, "p d n"]) -> Float[Tensor, "p n"]:
        """How far the nearest point is; a large number if none is near."""
        ...


class Table:
    """A grid of cells that hold the nearest point of the cloud and its distance from the middle of the cell."""

    def __init__(self, points: Tensor) -> None:
        d = points.shape[-1]
        low = points.amin(0).clamp_min(-EXTENT) - REACH
        extent = points.amax(0).clamp_max(EXTENT) + REACH - low
        self.cell = float(extent.max()) / SIDE[d]
        self.last = (extent / self.cell).floor().int().tolist()
        self.low, self.points = low.float(), points.float()
        axes = [low[k] + self.cell * (0.5 + torch.arange(self.last[k] + 1).double()) for k in range(d)]
        middles = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        far, index = KDTree(points.numpy()).query(middles.numpy(), distance_upper_bound=REACH)
        distance = torch.from_numpy(far).float()
        for k in range(d):  # places beyond the grid fall into its outer cells
            distance.select(k, 0).fill_(torch.inf)
            distance.select(k, -1).fill_(torch.inf)
        self._distance = distance.flatten().clamp_max(1e3)
        self._index = torch.from_numpy(index).flatten() % len(points)

    def _cells(self, places: Tensor) -> Tensor:
        place = (places - self.low[:, None]) / self.cell
        cell = place[:, 0].clamp(0, self.last[0]).int()
        for k in range(1, len(self.last)):
            cell = cell * (self.last[k] + 1) + place[:, k].clamp(0, self.last[k]).int()
        return cell

    def index(self, places: Tensor) -> Tensor:
        """The point of the cell."""
        cells = self._cells(places)
        return self._index.index_select(0, cells.flatten()).view(cells.shape)

    def distance(self, places: Tensor) -> Tensor:
        """The distance of the cell."""
        cells = self._cells(places)
        return self._distance.index_select(0, cells.flatten()).view(cells.shape)


class Exact:
    """The nearest point by search, in any number of dimensions."""

    def __init__(self, points: Tensor) -> None:
        self.points, self._tree = points, KDTree(points.numpy())

    def _query(self, places: Tensor) -> tuple[Tensor, Tensor]:
        distance, index = self._tree.query(places.mT.numpy())
        return torch.from_numpy(distance), torch.from_numpy(index)

    def index(self, places: Tensor) -> Tensor:
        """The nearest point."""
        return self._query(places)[1]

    def distance(self, places: Tensor) -> Tensor:
        """How far it is."""
        return self._query(places)[0]


class Brute:
    """The nearest point by a look at all of them: for so many places at once, faster than a tree in four dimensions."""

    def __init__(self, points: Tensor) -> None:
        self.points = points.float()

    def _look(self, places: Tensor) -> tuple[Tensor, Tensor]:
        found = [torch.cdist(part, self.points).min(-1) for part in places.mT.split(64)]
        return torch.cat([least.values for least in found]), torch.cat([least.indices for least in found])

    def index(self, places: Tensor) -> Tensor:
        """The nearest point."""
        return self._look(places)[1]

    def distance(self, places: Tensor) -> Tensor:
        """How far it is."""
        return self._look(places)[0]


class Cloud(NamedTuple):
    """The points of one side, which of them are the object, and how far they are from each other."""

    exact: Exact
    near: Nearest  # the same in single precision, for very many places
    structure: Float[Tensor, " n"]  # one on the object, zero for clutter that stands alone
    drawn: Int[Tensor, " k"]  # points that are likely to be on the object, the likeliest first
    weight: Float[Tensor, " k"]  # how likely
    spacing: float

    @property
    def points(self) -> Float[Tensor, "n d"]:
        """All points."""
        return self.exact.points

    @property
    def all(self) -> Some:
        """All points, and how much they are of the object."""
        return Some(self.points, self.structure)

    def some(self, count: int) -> Some:
        """A few of the points that were drawn."""
        few = self.drawn[:count]
        return Some(self.points[few].float(), self.structure[few].float())


class Some(NamedTuple):
    """Some points of a cloud."""

    points: Float[Tensor, "n d"]
    structure: Float[Tensor, " n"]


def seen(points: Float[Tensor, "n d"], generator: torch.Generator | None) -> Cloud:
    """A cloud in units of its size."""
    n, d = points.shape
    exact = Exact(points)
    neighbours = torch.from_numpy(exact._tree.query(points.numpy(), k=min(7, n))[0])
    nearest, wide = neighbours[:, 1], neighbours[:, -1]
    structure = 1 / (1 + (wide / (2.2 * wide.quantile(0.25)).clamp_min(1e-9)) ** 6)
    weight = wide.clamp_min(max(float(wide.quantile(0.2)), 1e-6)) ** -d
    weight = weight.clamp_max(weight.quantile(0.8))
    weight = weight / weight.sum()
    drawn = torch.multinomial(weight, min(n, DRAWN.get(d, 400)), generator=generator)
    most = TABLED if d in SIDE else BRUTE
    held = points if n <= most else points[torch.randperm(n, generator=generator)[:most]]
    near = Table(held) if d in SIDE else Brute(held)
    spacing = float(nearest[structure > 0.4].median())
    return Cloud(exact, near, structure, drawn, weight[drawn].float(), spacing)


def images(motion: Rigid, points: Float[Tensor, "n d"]) -> Float[Tensor, "p d n"]:
    """Where many motions bring the points, coordinate by coordinate."""
    p, d = motion.translation.shape
    linear = (motion.scale[:, None, None] * motion.rotation).reshape(p * d, d)
    return (linear @ points.T).view(p, d, -1) + motion.translation[..., None]
