"""Maps made from plans: where points go that the plan has not seen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import explicit, pick, take, working_dtype
from monge._blocks import joined
from monge._checks import check_batches, check_choice, check_floating, check_points, check_same
from monge._users_arrays import takes_arrays
from monge._value import Value, value
from monge.errors import CapabilityError, InfeasibleError, InputError, ShapeError
from monge.geometry.space import Space

from . import _stream, _validate
from ._numbers import dust, fraction
from ._optimal_potentials import check_potentials, optimal_potentials
from .base import Coupling
from .potential import PotentialCoupling

__all__ = ["TransportMap"]

METHODS = ("barycentric", "nearest", "brenier")


@value
class TransportMap(Value):
    r"""A plan as a function of space: T(x) for points x that the plan has seen, and for all others.

    A plan moves the mass of its source points; a map moves every point. It needs a cost that is defined for new points.
    So the plan must be between points (`PointCloud`, `Line`, `Circle`, `Sphere`, or a `Grid` of lines), and it must
    know its cost, from a solver or by ``geometry=``. There are three methods:

    ``"barycentric"``
        The mean of the target points, $T(x) = \sum_j p_j(x)\,y_j$ with
        $p_j(x) \propto b_j\,e^{(g_j - C(x, y_j)) / \epsilon}$: the row that the entropic plan would have at x. It needs
        a `PotentialCoupling`, is smooth, and at a source point equals ``P.barycentric(y)``. For squared distances
        $T(x) = x - \tfrac12\nabla f(x)$, where f is the potential of the sources. Its bias is proportional to epsilon.
    ``"nearest"``
        A point moves as the nearest source point with mass does: $T(x) = x + (\bar y_i - x_i)$, where $\bar y_i$ is the
        barycentre of row i. Every plan has this map. It jumps where the nearest point changes.
    ``"brenier"``
        The target point whose cell holds x, $T(x) = y_j$ with $j = \arg\min_j C(x, y_j) - g_j$ for optimal potentials
        of an exact plan. For squared Euclidean costs it is the gradient of a convex function, Brenier's map to the
        target points; for any cost it moves no set of points in a way that another order would make cheaper. A source
        point that splits stands on the border of the cells of its partners: there T is the barycentre of the row.

    A map says where the mass of x goes *if* mass leaves x, and not how much mass leaves. So it is defined for
    unbalanced and partial plans too, also at points from which they move nothing. Source points without mass have no
    influence, and no point is sent to a target point without mass.

    On a circle and on a sphere the mean is intrinsic, $\exp_x \sum_j p_j \log_x y_j$, which for squared distances is
    $\exp_x(-\tfrac12\nabla f(x))$. There "nearest" rotates the image of the nearest source point by the smallest
    rotation that takes this source point to x.

    No n x m matrix is built. Maps are differentiable by the new points and, through the plan, by its points and its
    potentials. The brenier map is constant in every cell, so that its derivative by the new points is zero.

    Args:
        coupling: The plan, with a cost between points.
        method: One of the three. By default it is "barycentric" for an entropic plan, "brenier" if potentials are
            given, and "nearest" otherwise.
        potentials: Optimal potentials (f, g) for "brenier", if they are known; by default they are computed from the
            plan, by a simplex method that starts at the plan.

    Raises:
        InputError: If the plan knows no cost, if the method is unknown, if potentials are given that do not prove the
            plan or belong to another method, or if the method is "brenier" and the plan is not optimal for its cost.
        CapabilityError: If the cost is not between points, or if the method is "barycentric" and the plan has no
            potentials.
        InfeasibleError: If a problem has no mass.
        ShapeError: If the potentials have the wrong shape.

    Example:
        >>> import torch
        >>> import monge
        >>> from monge.coupling import TransportMap
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> T = TransportMap(monge.couple(x, x + 3))
        >>> T(torch.tensor([[0.0], [0.6]]))
        tensor([[3.0000],
                [3.6000]])
        >>> T.inverse(torch.tensor([[3.6]]))
        tensor([[0.6000]])

    Source: Pooladian, Niles-Weed, Entropic estimation of optimal transport maps, arXiv:2109.12004; Manole et al.,
        Plugin estimation of smooth optimal transport maps, arXiv:2107.12364; Ferradans et al., Regularized discrete
        optimal transport, arXiv:1307.5551, for "nearest"; McCann, Polar factorization of maps on Riemannian manifolds
        (2001), for the sphere.
    """

    coupling: Coupling
    method: str | None = None
    potentials: tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]] | None = None

    def __post_init__(self) -> None:
        P = self.coupling
        if not isinstance(P, Coupling):
            raise InputError(f"coupling must be a Coupling, but is {type(P).__name__}: pass monge.couple(x, y).")
        _space(P)
        entropic = isinstance(P, PotentialCoupling) and P.link == "exp"
        method = self.method
        if method is None:
            method = "barycentric" if entropic else "nearest" if self.potentials is None else "brenier"
        check_choice("method", method, METHODS)
        object.__setattr__(self, "method", method)
        if method == "barycentric" and not entropic:
            raise CapabilityError(
                f"method='barycentric' needs the potentials of an entropic plan, but this {type(P).__name__} has none: "
                "use method='nearest', or solve with a positive epsilon."
            )
        _check_mass(P, method)
        if method == "brenier":
            found = optimal_potentials(P) if self.potentials is None else check_potentials(P, self.potentials)
            object.__setattr__(self, "potentials", found)
        elif self.potentials is not None:
            raise InputError(f"potentials belong to method='brenier' and have no use for {method!r}: leave them out.")

    @property
    def inverse(self) -> TransportMap:
        """The map of the transposed plan, from the target to the source.

        If the plan is a bijection, it is the inverse function at the target points. Elsewhere it is only the map of the
        other direction.
        """
        swapped = None if self.potentials is None else self.potentials[::-1]
        return self._make(coupling=self.coupling.T, method=self.method, potentials=swapped)

    @final
    def __getitem__(self, index: int | slice | Tensor | tuple[Any, ...]) -> TransportMap:
        """Some problems of a batch, as `Coupling.__getitem__` picks them.

        Raises:
            InputError: If there is no batch or no such problem.
        """
        coupling, batch = self.coupling[index], self.coupling.batch_shape
        potentials = self.potentials
        if potentials is not None:
            f, g = (pick(side, 1, batch, explicit(index, batch)) for side in potentials)
            potentials = f, g
        return self._make(coupling=coupling, method=self.method, potentials=potentials)

    @final
    @takes_arrays
    def __call__(self, points: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Where points go.

        Args:
            points: New points, written as the source points of the plan's cost are: (*b, k, d), or numbers (*b, k) for
                a `Line` and a `Circle`. Batch dimensions broadcast with those of the plan.

        Returns:
            As many points, of the same shape but for batch dimensions.

        Raises:
            ShapeError, DtypeError, DeviceError: If points and plan do not fit together.
            InputError: If a point is not finite, or so far away that its cost overflows.

        Example:
            >>> import torch
            >>> import monge
            >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [10.0]])
            >>> T = monge.coupling.TransportMap(monge.couple(x, y), "brenier")
            >>> T(torch.tensor([[-5.0], [1.0], [7.0]]))
            tensor([[ 0.],
                    [10.],
                    [10.]])
        """
        space = _space(self.coupling)
        x, batch = _points(self.coupling, space, points)
        follow = {"barycentric": _barycentric, "nearest": _nearest, "brenier": self._cells}
        out = follow[str(self.method)](self.coupling, space, x)
        out = out.to(points.dtype).expand(*batch, *out.shape[-2:])
        return out[..., 0] if space.numbers else out

    def _cells(self, P: Coupling, space: Space, points: Tensor) -> Tensor:
        assert self.potentials is not None
        reached = _with_mass(P.T.detach())
        g = self.potentials[1].detach().masked_fill(~reached, -math.inf)
        with torch.no_grad():
            least, j = space.costs(points, space.y)._ctransform(g)
        _check_reach(least)
        inside = take(space.y, j)
        i = _nearest_source(P, space, points)
        met = (points == take(space.x, i)).all(-1, keepdim=True)
        return torch.where(met, take(_barycentres(P, space), i), inside)


def _barycentric(P: Coupling, space: Space, points: Tensor) -> Tensor:
    assert isinstance(P, PotentialCoupling)
    costs, col = space.costs(points, space.y), P._bias(P.g, P.b)
    if space.flat and costs._pairs() is not None:
        return costs._apply(None, col, space.y, P.epsilon)
    # The row that the plan would have at each point: with the soft c-transform of g every row sums to one.
    f = costs._softmin(torch.zeros_like(col), col, P.epsilon)
    _check_reach(f)
    rows = P._replace(geometry=costs, f=f, a=torch.ones_like(f))
    return _barycentres(rows, replace(space, x=points))


def _nearest(P: Coupling, space: Space, points: Tensor) -> Tensor:
    i = _nearest_source(P, space, points)
    return space.carried(points, take(space.x, i), take(_barycentres(P, space), i))


def _nearest_source(P: Coupling, space: Space, points: Tensor) -> Tensor:
    """The nearest source point from which mass moves."""
    moved = _with_mass(P.detach())
    price = torch.zeros_like(moved, dtype=points.dtype).masked_fill(~moved, -math.inf)
    with torch.no_grad():
        return space.distances(points.detach())._ctransform(price)[1]


def _with_mass(P: Coupling) -> Tensor:
    """Which rows move more than the rounding of the plan's mass."""
    row = P._row_sums()
    return row > dust(row.sum(-1, keepdim=True), row.shape[-1], P.dtype)


def _barycentres(P: Coupling, space: Space) -> Tensor:
    """Where the source points go."""
    if space.flat:
        return P._average(space.y)

    def body(rows: slice) -> Tensor:
        block = P._block(rows)
        block = block.to(working_dtype(block))
        return space.drawn(space.x[..., rows, :].to(block.dtype), fraction(block, block.sum(-1, keepdim=True)))

    return joined(body, _stream.row_blocks(P, width=4), -2)


def _space(P: Coupling) -> Space:
    """Where the points of the plan lie."""
    if P.geometry is None:
        raise InputError(
            f"A map needs the points of the plan, but this {type(P).__name__} was not made for a cost: make it with "
            "monge.couple(x, y), or build it with geometry=PointCloud(x, y)."
        )
    _validate.geometry(P, P.geometry)
    space = P.geometry._space()
    if space is None:
        raise CapabilityError(
            f"A map needs a cost between points, but {type(P.geometry).__name__} does not say what a new point would "
            "cost: make the plan for a PointCloud, Line, Circle, Sphere or a Grid of lines of one power; at the source "
            "points P.barycentric(v) answers."
        )
    return space


def _points(P: Coupling, space: Space, points: Tensor) -> tuple[Tensor, torch.Size]:
    """New points as they stand in the space of the plan, and the batch of the answer."""
    check_floating("points", points)
    check_same(**{"points": points, "the plan": space.x})
    if space.numbers:
        if points.ndim == 0:
            raise ShapeError("points must be numbers of shape (*batch, k), but is one number: use points[None].")
        points = points[..., None]
    check_points("points", points)
    d = space.x.shape[-1]
    if points.shape[-1] != d:
        raise ShapeError(
            f"points must have {d} coordinates, as the source points of the plan have, but has shape "
            f"{tuple(points.shape)}: for points of the target use the inverse, P.T.map(points)."
        )
    batch = check_batches(**{"the plan": P._shape()[:-2], "points": points.shape[:-2]})
    return space.place(points), batch


def _check_mass(P: Coupling, method: str) -> None:
    """Every problem must have points to follow. What an entropic plan moves need not be summed to know it."""
    if method == "barycentric":
        assert isinstance(P, PotentialCoupling)
        sides = [side > -math.inf for side in P._biases()]
    else:
        sides = [_with_mass(P.detach())]
    if not all(bool(there.any(-1).all()) for there in sides):
        raise InfeasibleError("A map needs a plan with mass, but a problem of the batch has none: leave that one out.")


def _check_reach(least: Tensor) -> None:
    """Every point must be allowed to go somewhere."""
    nowhere = least.detach() == math.inf
    if bool(nowhere.any()):
        raise InfeasibleError(
            f"A new point must have a target point that the cost allows, but {int(nowhere.sum())} of "
            f"{nowhere.numel()} have none, the first at {tuple(nowhere.nonzero()[0].tolist())}: leave them out."
        )
