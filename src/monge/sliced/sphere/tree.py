"""Tree-sliced transport on the sphere: stars of half great circles, on which points share their mass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_same, check_weights
from monge._transforms import transformable
from monge._value import Value, value
from monge.errors import ShapeError

from .._mean import mean_over_slices
from ..directions import directions
from ..estimate import Estimate
from .wasserstein import check_sphere

__all__ = ["SphericalTreeSystem", "spherical_tree_sliced_wasserstein", "spherical_tree_system"]


@value
class SphericalTreeSystem(Value):
    """Trees made of half great circles that leave a root.

    Args:
        root: (T, d) unit vectors.
        theta: (T, k, d) unit vectors orthogonal to the root: where each ray points.
    """

    root: Float[Tensor, "trees d"]
    theta: Float[Tensor, "trees rays d"]


@transformable
def spherical_tree_system(
    dimension: int,
    *,
    trees: int = 200,
    rays: int = 4,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> SphericalTreeSystem:
    """Uniform roots, each with rays in independent uniform directions.

    Args:
        dimension: d of the space R^d around the sphere.
        trees: How many.
        rays: Per tree.
        generator: Source of randomness.
        dtype: Of the result.
        device: Of the result.

    Raises:
        ShapeError: Fewer than two dimensions have no sphere.

    Example:
        >>> import torch
        >>> spherical_tree_system(3, trees=5, rays=2).theta.shape
        torch.Size([5, 2, 3])
    """
    if dimension < 2:
        raise ShapeError(f"A sphere needs at least two dimensions, but dimension is {dimension}.")
    check_number("trees", trees, low=1)
    check_number("rays", rays, low=1)
    root = directions(trees, dimension, "iid", generator=generator, dtype=torch.float64)
    normal = torch.randn(trees, rays, dimension, generator=generator, dtype=torch.float64)
    tangent = normal - (normal @ root[..., None]) * root[:, None]
    theta = torch.nn.functional.normalize(tangent, dim=-1)
    return SphericalTreeSystem(root, theta).to(dtype=dtype, device=device)


@transformable
def spherical_tree_sliced_wasserstein(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
    *,
    system: SphericalTreeSystem | None = None,
    p: float = 1.0,
    sharpness: float = 2.0,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The mean over random trees on the sphere of a closed-form tree distance.

    A point at angle $t$ from the root goes to every ray at that same coordinate, with the share
    $\mathrm{softmax}_i(-\delta \angle_i \sin t)$, $\angle_i$ the angle between the ray and the point's own direction
    from the root. With $\mu_i(t > s)$ the mass on ray $i$ farther than $s$,
    $$\sum_i \int_0^\pi |\mu_i(t > s) - \nu_i(t > s)|^p\, ds,$$
    the tree Wasserstein distance for p = 1. One sort per tree serves all its rays. Lengths are in radians.

    Args:
        x: Points on the unit sphere.
        y: Points on the same sphere.
        a: Non-negative weights of `x`, equal if None; scaled to mass one.
        b: The same for `y`.
        system: The trees, drawn if None; sharing them makes the value a pseudo-metric.
        p: Power of the differences of mass, at least 1.
        sharpness: delta >= 0; zero gives every ray an equal share.
        generator: Source of the trees.

    Returns:
        An `Estimate`, with a cost per tree.

    Raises:
        InputError: Points off the sphere.

    Source:
        Tran et al., Spherical tree-sliced Wasserstein distance (arXiv 2503.11249).

    Example:
        >>> import torch
        >>> tree = SphericalTreeSystem(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0]]]))
        >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> spherical_tree_sliced_wasserstein(x, y, system=tree).cost  # a quarter of the circle
        tensor(1.5708)
    """
    check_sphere("x", x)
    check_sphere("y", y)
    check_same(x=x, y=y, a=a, b=b)
    check_number("p", float(p), low=1.0)
    check_number("sharpness", sharpness, low=0.0)
    if x.ndim != 2 or y.ndim != 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"x and y must be single clouds of one space, but have {tuple(x.shape)} and {tuple(y.shape)}.")
    for name, weight, points in (("a", a, x), ("b", b, y)):
        if weight is not None:
            check_weights(name, weight, len(points))
    if system is None:
        system = spherical_tree_system(x.shape[-1], generator=generator, dtype=x.dtype, device=x.device)
    trees = system
    a = x.new_full(x.shape[:1], 1 / len(x)) if a is None else a / a.sum()
    b = y.new_full(y.shape[:1], 1 / len(y)) if b is None else b / b.sum()

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        (place_x, share_x), (place_y, share_y) = (_shares(points, trees, chunk, sharpness) for points in (x, y))
        mass = torch.cat([share_x * a, -share_y * b], -1)
        place, order = torch.cat([place_x, place_y], -1).sort(dim=-1, stable=True)
        mass = mass.gather(-1, order[:, None, :].expand(mass.shape))
        beyond = mass.flip(-1).cumsum(-1).flip(-1)
        length = place.diff(dim=-1, prepend=torch.zeros_like(place[:, :1]))
        size = beyond.abs()
        if p != 1:  # a power without a slope where nothing is beyond
            size = torch.where(size > 0, size, 1).pow(p) * (size > 0)
        return (length[:, None] * size).sum((-1, -2))

    scalars = 8 * trees.theta.shape[1] * (len(x) + len(y))
    cost, slices = mean_over_slices(costs, len(trees.root), scalars, (x, y, a, b))
    return Estimate(cost, slices, 1, float(p))


def _shares(points: Tensor, trees: SphericalTreeSystem, chunk: slice, sharpness: float) -> tuple[Tensor, Tensor]:
    """The angle from the root, (trees, n), and the share of every ray, (trees, rays, n)."""
    height = trees.root[chunk] @ points.T
    along = trees.theta[chunk] @ points.T  # rays are orthogonal to the root: only the tangential part counts
    radius = (1 - height.square()).clamp_min(1e-12).sqrt()
    edge = 1 - 4 * torch.finfo(points.dtype).eps
    angle = torch.arccos((along / radius[:, None]).clamp(-edge, edge))
    return torch.atan2(radius, height), (-sharpness * angle * radius[:, None]).softmax(-2)
