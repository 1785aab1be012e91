"""Gromov-Wasserstein losses of given plans and on lines; nothing is searched for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from monge._checks import check_batches, check_number, check_points
from monge._users_arrays import takes_arrays
from monge._value import value
from monge.coupling import Coupling
from monge.errors import ShapeError
from monge.geometry import Geometry, PointCloud
from monge.kernels.line import levels, staircase

from .._aligned_clouds import Clouds, aligned, of_mass_one
from ..directions import directions_for
from ..estimate import Estimate, estimate
from ..line import LineProblem
from ..slicer import LinearSlicer

__all__ = [
    "Gromov",
    "Metric",
    "Spaces",
    "distortion",
    "gromov_cost",
    "metric",
    "sliced_gromov_wasserstein",
    "within",
]

Spaces = tuple[Geometry, Geometry]

PAIR_BYTES = 2**26


@takes_arrays
def gromov_cost(
    P: Coupling,
    x: Float[Tensor, "*b n d"] | Geometry,
    y: Float[Tensor, "*b m e"] | Geometry,
    *,
    samples: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*b"]:
    r"""How much a plan distorts distances: the Gromov-Wasserstein loss of any coupling.

    $$\sum_{ijkl} (D^x_{ik} - D^y_{jl})^2 P_{ij} P_{kl}
    = \langle D^x \circ D^x, \mu\mu^\top\rangle + \langle D^y \circ D^y, \nu\nu^\top\rangle
    - 2\,\mathrm{tr}(D^x P D^y P^\top)$$
    with the marginals $\mu, \nu$ of P. Squared Euclidean distances have rank d + 2, so that two products of P with a
    thin matrix are enough: $O(n d^2)$ for bijections, staircases and sparse plans. For other distances, a plan with few
    entries is summed over pairs of entries, which takes $O((n + m)^2)$ and is never negative; other plans are
    multiplied with the matrices of distances. The loss is differentiable in the plan and in the points.

    Args:
        P: The plan.
        x: Sources: points, with squared Euclidean distances, or a geometry that holds their distances to each other.
        y: The same for the targets, in another space.
        samples: Estimate the loss without bias, from this number of independent pairs of pairs.
        generator: Source of the samples.

    Returns:
        One number per plan of the batch, in the unit of a distance squared.

    Raises:
        ShapeError: Distances that do not fit the plan.

    Source:
        Memoli, Gromov-Wasserstein distances and the metric approach to object matching (2011); Peyre, Cuturi, Solomon,
        Gromov-Wasserstein averaging of kernel and distance matrices (2016), the product form.

    Example:
        >>> import torch
        >>> from monge.coupling import PermutationCoupling
        >>> x = torch.tensor([[0.0], [1.0], [3.0]]); y = 5 - x[[2, 0, 1]]
        >>> bool(gromov_cost(PermutationCoupling(torch.tensor([1, 2, 0])), x, y) < 1e-12)  # an isometry
        True
    """
    spaces = within(x, y)
    for name, space, count in zip(("x", "y"), spaces, P.shape[-2:], strict=True):
        if space.shape != (count, count):
            raise ShapeError(
                f"{name} must hold the {count} points of the plan of shape {tuple(P.shape)}, but its distances have "
                f"shape {tuple(space.shape)}."
            )
    if samples is not None:
        return _sampled(P, *spaces, samples, generator)
    plan, (left, right) = P.to(torch.float64), [space.to(torch.float64) for space in spaces]
    factors = left.factors(), right.factors()
    entries = plan._entries() if None in factors else None
    if entries is None or entries[2].shape[-1] > 2 * sum(P.shape[-2:]):
        found = _not_negative(distortion(plan._matmul, plan._marginals(), (metric(left), metric(right))))
    else:
        batch = check_batches(P=P.batch_shape, x=left.batch_shape, y=right.batch_shape)
        i, j, w = (part.expand(*batch, part.shape[-1]) for part in entries)
        parts = [_pairwise(i[at], j[at], w[at], _one(left, at), _one(right, at)) for at in product(*map(range, batch))]
        found = torch.stack(parts).reshape(batch) if parts else w.new_zeros(batch)
    return found.to(P.dtype)


class Metric(NamedTuple):
    """Distances D = left right^T within one cloud; of full rank, the right factor is the identity."""

    left: Tensor
    right: Tensor
    thin: bool

    def square(self, weights: Tensor) -> Tensor:
        """The mean of D squared over two independent points."""
        grams = [side.mT @ (weights[..., None] * side) for side in (self.left, self.right)]
        return (grams[0] * grams[1]).sum((-1, -2))

    def at(self, index: slice | Tensor) -> Metric:
        """Some of the points, each once."""
        left, right = (side[index] if self.thin else side[index][:, index] for side in (self.left, self.right))
        return Metric(left, right, self.thin)


def metric(space: Geometry) -> Metric:
    """The distances of a cloud as a product, thin where they are."""
    factors = space.factors()
    if factors is not None:
        return Metric(*factors, thin=True)
    dense = space.dense()
    return Metric(dense, torch.eye(dense.shape[-1]).to(dense), thin=False)


def distortion(
    matmul: Callable[[Tensor], Tensor], marginals: tuple[Tensor, Tensor], metrics: tuple[Metric, Metric]
) -> Tensor:
    """The loss of the plan that ``matmul`` applies, by products with thin matrices."""
    x, y = metrics
    left, right = matmul(torch.cat([y.left, y.right], -1)).chunk(2, -1)
    cross = ((x.right.mT @ left) * (x.left.mT @ right)).sum((-1, -2))
    return x.square(marginals[0]) + y.square(marginals[1]) - 2 * cross


def _not_negative(found: Tensor) -> Tensor:
    """Below zero there is rounding only: the gradient is good."""
    return torch.where(found < 0, found - found.detach(), found)


def _one(space: Geometry, at: tuple[int, ...]) -> Geometry:
    """The space of one problem, where spaces have fewer dimensions or repeat."""
    own = space.batch_shape
    return (
        space[tuple(k if size > 1 else 0 for k, size in zip(at[len(at) - len(own) :], own, strict=True))]
        if own
        else space
    )


def _pairwise(i: Tensor, j: Tensor, w: Tensor, x: Geometry, y: Geometry) -> Tensor:
    """Every entry of a sparse plan against every other."""
    count = max(1, PAIR_BYTES // (16 * max(1, len(w))))
    total = w.new_zeros(())
    for some in torch.arange(len(w), device=w.device).split(count):
        gap = x._block(i[some])[:, i] - y._block(j[some])[:, j]
        total = total + w[some] @ gap.square() @ w
    return total


def _sampled(plan: Coupling, x: Geometry, y: Geometry, samples: int, generator: torch.Generator | None) -> Tensor:
    check_number("samples", samples, low=1)
    (i, j), (k, l) = plan.sample(samples, generator=generator), plan.sample(samples, generator=generator)
    return (x._entries(i, k) - y._entries(j, l)).square().mean(-1) * plan.mass.square()


def within(x: Tensor | Geometry, y: Tensor | Geometry, spaces: Spaces | None = None) -> Spaces:
    """The distances within both clouds, where they are not given: squared Euclidean ones of points."""
    return (_distances("x", x), _distances("y", y)) if spaces is None else spaces


def _distances(name: str, side: Tensor | Geometry) -> Geometry:
    if isinstance(side, Geometry):
        return side
    check_points(name, side)
    return PointCloud(side, side)


@value
class Gromov(LineProblem):
    r"""Gromov-Wasserstein between measures on lines, as the better of the two monotone couplings.

    With squared distances, one of these two is usually the optimum, but not always, so that the cost is an upper bound.
    It is a polynomial in moments and takes $O(n)$ after the sorts; in centred coordinates it is $2 m_4 + 6 m_2^2$ for
    each measure, less $4\,\mathbb{E}[u^2 v^2] + 4 m_2 m_2' + 8\,\mathbb{E}[uv]^2$.

    Source:
        Vayer et al., Sliced Gromov-Wasserstein (arXiv 1905.10124).

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> bool(estimate(x, 7 - x, slicer=LinearSlicer(torch.ones(1, 1)), line=Gromov()).cost < 1e-12)  # a reflection
        True
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        check_number("p", float(self.p), low=2.0, high=2.0)

    def _costs(self, lines: Clouds) -> Tensor:
        u, v, a, b = lines.map(Tensor.double)
        equal = a is None and b is None and u.shape[-1] == v.shape[-1]
        a, b = of_mass_one(a, u), of_mass_one(b, v)
        (u, second_u, fourth_u), (v, second_v, fourth_v) = _moments(u, a), _moments(v, b)
        (first, order_u), (last, order_v) = u.sort(dim=-1, stable=True), v.sort(dim=-1, stable=True)
        own = 2 * (fourth_u + fourth_v) + 6 * (second_u.square() + second_v.square())
        found = []
        for turned, order in ((last, order_v), (last.flip(-1), order_v.flip(-1))):
            left, right, mass = first, turned, a
            if not equal:
                i, j, mass = staircase(levels(a, order_u), levels(b, order))
                left, right = first.gather(-1, i), turned.gather(-1, j)
            both = (mass * left * right).sum(-1)
            squares = (mass * left.square() * right.square()).sum(-1)
            found.append(own - 4 * (squares + second_u * second_v + 2 * both.square()))
        return _not_negative(torch.minimum(*found)).to(lines.x.dtype)


def _moments(u: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centred coordinates, their second and fourth moments."""
    u = u - (a * u).sum(-1, keepdim=True)
    square = u.square()
    return u, (a * square).sum(-1), (a * square.square()).sum(-1)


@takes_arrays
def sliced_gromov_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m e"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    slices: int = 128,
    theta: Float[Tensor, "*b slices k"] | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The mean over directions of `Gromov` on lines: distances are compared slice by slice.

    If the dimensions differ, the cloud of smaller dimension gets further coordinates of zero. The distance does not
    change under translations and reflections, but it does under a rotation of one cloud alone.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`, equal if None.
        b: The same for `y`.
        slices: How many directions to draw.
        theta: Directions to use instead, of the larger dimension.
        generator: Source of the directions.

    Source:
        Vayer et al., Sliced Gromov-Wasserstein (arXiv 1905.10124).

    Example:
        >>> import torch
        >>> x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
        >>> bool(sliced_gromov_wasserstein(x, 4 - x).cost < 1e-12)
        True
    """
    dtype, d = x.dtype, max(x.shape[-1], y.shape[-1])
    clouds = aligned(x, y, a, b, one_space=False).wide()
    # Each is centred on its own: distances within a cloud know no place.
    x, y = (pad(side - side.detach().mean(-2, keepdim=True), (0, d - side.shape[-1])) for side in clouds[:2])
    if theta is None:
        theta = directions_for(x, slices, generator)
    found = estimate(x, y, clouds.a, clouds.b, slicer=LinearSlicer(theta), line=Gromov())
    return found._made_of(dtype)
