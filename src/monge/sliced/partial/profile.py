"""Partial transport between points of mass one, for every number of pairs at once."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge import kernels
from monge._checks import check_number
from monge._users_arrays import takes_arrays
from monge._value import Value, value
from monge.coupling import MonotoneCoupling
from monge.errors import ShapeError

from .._aligned_clouds import on_a_line
from .problem import period_of

__all__ = ["PartialProfile", "circular_partial_profile", "partial_profile"]


@value
class PartialProfile(Value):
    r"""The cheapest matchings of $k = 0, 1, 2, \ldots$ pairs: one answer for every penalty and every mass.

    Args:
        marginal: By how much the k-th pair raises the cost; nondecreasing, and inf after an early stop.
        source: The source atom that is added with the k-th pair; -1 after the last pair.
        target: The target atom that is added. It need not be the partner of `source`: with one more pair the partners
            may change, and only the sets of matched atoms grow.
        x: Positions of the sources on the line; a circle is cut at a place that no pair passes.
        y: The same of the targets.
    """

    marginal: Float[Tensor, "*b k"]
    source: Int[Tensor, "*b k"]
    target: Int[Tensor, "*b k"]
    x: Float[Tensor, "*b n"]
    y: Float[Tensor, "*b m"]

    @property
    def cost(self) -> Float[Tensor, "*b kplus1"]:
        """The cost C_0 = 0, C_1, C_2, ... of the cheapest k pairs; convex."""
        total = self.marginal.double().cumsum(-1)
        return torch.cat([torch.zeros_like(total[..., :1]), total], -1).to(self.marginal.dtype)

    def count(self, penalty: float | Float[Tensor, "*#b"]) -> Int[Tensor, "*b"]:
        """How many pairs are matched at a penalty per unit left on each side: those that cost less than twice it."""
        twice = 2 * torch.as_tensor(penalty, dtype=self.marginal.dtype, device=self.marginal.device)
        return (self.marginal < twice[..., None]).sum(-1)

    def knee(self) -> Int[Tensor, "*b"]:
        """The number of pairs that cost no more than the mean of all: there the profile is farthest below its chord.

        If there are outliers, the cost rises sharply from some number of pairs on, and the knee lies before this rise.
        If the profile is straight, the knee is the number of all pairs.
        """
        there = self.marginal.isfinite()
        total = torch.where(there, self.marginal, 0).double().sum(-1, keepdim=True)
        mean = total / there.sum(-1, keepdim=True).clamp_min(1) * (1 + 1e-12)
        return (there & (self.marginal.double() <= mean)).sum(-1)

    def plan(self, k: int | Int[Tensor, "*b"]) -> MonotoneCoupling:
        """The cheapest plan of k pairs, of mass one each: the first k atoms of both sides, matched in order.

        Args:
            k: The number of pairs; one number for each problem, such as `count` and `knee` give, or one for all.

        Raises:
            ShapeError: More pairs than the profile holds.
        """
        k = torch.as_tensor(k, device=self.marginal.device).expand(self.marginal.shape[:-1])
        most = int(k.max()) if k.numel() else 0
        if bool((k < 0).any()) or bool((k > self.marginal.isfinite().sum(-1)).any()):
            raise ShapeError(
                f"k must lie between 0 and the length of the profile, but is {most}, and the length is "
                f"{int(self.marginal.isfinite().sum(-1).min())}: compute the profile without an early stop."
            )
        n, m = self.x.shape[-1], self.y.shape[-1]
        step = torch.arange(self.marginal.shape[-1], device=k.device)
        joined = step < k[..., None]
        i, j = (
            _first_in_order(place, atom, joined, most) for place, atom in ((self.x, self.source), (self.y, self.target))
        )
        w = (step[:most] < k[..., None]).to(self.marginal.dtype)
        return MonotoneCoupling._make(i=i, j=j, w=w, n=n, m=m)


@takes_arrays
def partial_profile(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    *,
    p: float = 2.0,
    penalty: float | None = None,
    most: int | None = None,
) -> PartialProfile:
    r"""The whole profile of partial transport on the line: the cheapest cost and plan of every number of pairs.

    $C_k$ is convex, and the sets of matched atoms are nested. A greedy method, which adds neighbouring atoms that are
    not matched yet, finds all of them in $O(N \log N)$ for p = 1 and in about $N^{3/2}$ for other orders; with an early
    stop it is faster. For gradients see `partial_cost`.

    Args:
        x: Positions of the sources, one unit of mass each.
        y: Positions of the targets.
        p: Order, at least 1: the cost is $|x - y|^p$.
        penalty: Stop where the next pair would cost twice this or more.
        most: Stop after so many pairs.

    Source:
        Chapel, Tavenard, One for all and all for one: efficient computation of partial Wasserstein distances on the
        line (2025).

    Example:
        >>> import torch
        >>> from monge.sliced import partial_profile
        >>> profile = partial_profile(torch.tensor([0.0, 1.0, 2.0, 7.0]), torch.tensor([0.4, 1.1, 9.0]))
        >>> profile.cost
        tensor([0.0000, 0.0100, 0.1700, 4.1700])
        >>> profile.count(penalty=0.5), profile.knee()
        (tensor(2), tensor(2))
        >>> plan = profile.plan(2)
        >>> plan.i, plan.j  # the two sources and the target on the right are left alone
        (tensor([0, 1]), tensor([0, 1]))
    """
    return _profile(x, y, p, None, penalty, most)


@takes_arrays
def circular_partial_profile(
    x: Float[Tensor, "*b n"],
    y: Float[Tensor, "*b m"],
    *,
    circumference: float = 1.0,
    penalty: float | None = None,
    most: int | None = None,
) -> PartialProfile:
    """The whole profile of partial transport on a circle, where the cost is the length of the shorter arc.

    Args:
        x: Positions of the sources, in units of the circumference; any real number, wrapped.
        y: Positions of the targets.
        circumference: Length of the circle; 2 pi for angles.
        penalty: Stop where the next pair would cost twice this or more.
        most: Stop after so many pairs.

    Source:
        Kolouri, PAWC: Efficient computation of partial Wasserstein distances on the circle (2026).

    Example:
        >>> import torch
        >>> from monge.sliced.partial import circular_partial_profile
        >>> x, y = torch.tensor([0.4, 4.1, 4.5, 8.0]), torch.tensor([1.6, 5.0, 5.4, 11.4])
        >>> circular_partial_profile(x, y, circumference=12.0).cost
        tensor([0.0000, 0.5000, 1.5000, 2.8000, 6.4000])
    """
    return _profile(x, y, 1.0, circumference, penalty, most)


def _profile(
    x: Tensor, y: Tensor, p: float, circumference: float | None, penalty: float | None, most: int | None
) -> PartialProfile:
    period = period_of(circumference)
    check_number("p", float(p), low=1.0)
    on_a_line(x, y)
    stop = math.inf if penalty is None else penalty
    check_number("penalty", stop, low=0.0, infinity=True)
    if most is not None:
        check_number("most", most, low=1)
    found = kernels.partial_profile(x, y, p=float(p), period=period, penalty=float(stop), most=most)
    return PartialProfile(found.marginal.to(x.dtype), *found[1:])


def _first_in_order(place: Tensor, atom: Tensor, joined: Tensor, most: int) -> Tensor:
    """The atoms that have joined, by position; what follows them is padding."""
    n = place.shape[-1]
    active = torch.zeros(*place.shape[:-1], n + 1, dtype=torch.bool, device=place.device)
    active = active.scatter(-1, torch.where(joined, atom, n), torch.ones_like(joined))[..., :n]
    return torch.where(active, place, math.inf).argsort(dim=-1, stable=True)[..., :most]
