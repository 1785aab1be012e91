"""Lists of measures, as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from monge._arrays import working_dtype
from monge._checks import check_points, check_same, check_weights
from monge.errors import InfeasibleError, InputError, ShapeError
from monge.problem.marginal import rounding

# A cloud of points of equal weights, or a cloud with its weights.
GivenMeasure = Tensor | tuple[Tensor, Tensor | None]


class Measure(NamedTuple):
    """Points with weights."""

    x: Float[Tensor, "n d"]
    a: Float[Tensor, " n"]
    uniform: bool

    @property
    def size(self) -> int:
        """How many points there are."""
        return self.x.shape[-2]

    def filled(self, size: int) -> Measure:
        """The same measure with ``size`` points: the further ones are its first, with no weight."""
        more = size - self.size
        if more == 0:
            return self
        return self._replace(x=torch.cat([self.x, self.x[:1].expand(more, -1)]), a=pad(self.a, (0, more)))


def as_measures(name: str, given: Sequence[GivenMeasure] | Tensor) -> list[Measure]:
    """One `Measure` per entry, all in one space, of one dtype and on one device."""
    if isinstance(given, Tensor) and given.ndim != 3:
        raise ShapeError(
            f"{name} must be a list of clouds, or one tensor (k, n, d) of k clouds, but is a tensor of shape "
            f"{tuple(given.shape)}: put a single cloud into a list."
        )
    if not isinstance(given, (Tensor, Sequence)) or isinstance(given, str) or len(given) == 0:
        raise InputError(f"{name} must list at least one cloud (n, d) or pair (cloud, weights), but is empty: add one.")
    measures = [_as_measure(f"{name}[{k}]", one) for k, one in enumerate(given)]
    first = measures[0].x
    for k, measure in enumerate(measures):
        check_same(**{f"{name}[0]": first, f"{name}[{k}]": measure.x})
        if measure.x.shape[-1] != first.shape[-1]:
            raise ShapeError(
                f"{name} must live in one space, but {name}[0] has points of dimension {first.shape[-1]} and "
                f"{name}[{k}] of dimension {measure.x.shape[-1]}."
            )
    return measures


def check_masses(name: str, masses: Float[Tensor, "*b k"]) -> None:
    """The measures of each problem must have one mass, up to rounding."""
    if bool(((masses - masses[..., :1]).abs() > rounding(masses.dtype) * masses).any()):
        raise InfeasibleError(
            f"{name} must have the same mass, but theirs range from {float(masses.min()):.9g} to "
            f"{float(masses.max()):.9g}: divide the weights of each one by their sum."
        )


def by_size(measures: Sequence[Measure]) -> dict[tuple[int, bool], list[int]]:
    """Which measures can be stacked: those of one size, with those of equal weights apart."""
    groups: dict[tuple[int, bool], list[int]] = {}
    for k, measure in enumerate(measures):
        groups.setdefault((measure.size, measure.uniform), []).append(k)
    return groups


def stacked(measures: Sequence[Measure], members: Sequence[int] | Int[Tensor, " k"]) -> tuple[Tensor, Tensor]:
    """The clouds and weights of some measures as a batch; points without weight make them equally many."""
    different, place = torch.as_tensor(members).unique(return_inverse=True)
    chosen = [measures[k] for k in different.tolist()]
    longest = max(measure.size for measure in chosen)
    filled = [measure.filled(longest) for measure in chosen]
    where = place.to(filled[0].x.device)
    x, a = (torch.stack(part).index_select(0, where) for part in list(zip(*filled, strict=True))[:2])
    return x, a


def _as_measure(name: str, given: Any) -> Measure:
    if isinstance(given, tuple):
        if len(given) != 2:
            raise InputError(
                f"{name} must be a cloud or a pair (cloud, weights), but is a tuple of {len(given)}: pass one of them."
            )
        x, a = given
    else:
        x, a = given, None
    check_points(name, x)
    if x.ndim != 2:
        raise ShapeError(
            f"{name} must be one cloud of shape (n, d), but has shape {tuple(x.shape)}: pass several clouds as a list."
        )
    wide = working_dtype(x)  # half precision has too few digits for sums
    if a is None:
        return Measure(x, torch.full((len(x),), 1.0 / len(x), dtype=wide, device=x.device), True)
    check_weights(f"the weights of {name}", a, len(x))
    if a.ndim != 1:
        raise ShapeError(
            f"the weights of {name} must have shape ({len(x)},), but have {tuple(a.shape)}: give one weight per point."
        )
    check_same(**{name: x, f"the weights of {name}": a})
    return Measure(x, a.to(wide), bool((a == a[0]).all()))
