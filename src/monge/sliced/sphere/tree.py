"""Tree-sliced transport on the sphere: stars of half great circles, on which points share their mass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import gap_power
from monge._checks import check_number
from monge._transforms import transformable
from monge._value import Value, value
from monge.errors import ShapeError

from .._clouds import aligned, shares, together
from .._mean import mean_over_slices
from ..directions import directions
from ..estimate import Estimate
from .wasserstein import on_sphere

__all__ = ["SphericalTreeSystem", "spherical_tree_sliced_wasserstein", "spherical_tree_system"]


@value
class SphericalTreeSystem(Value):
    """Trees made of half great circles that leave a root.

    Args:
        root: (*b, T, d) unit vectors.
        theta: (*b, T, k, d) unit vectors orthogonal to the root: where each ray points.
    """

    root: Float[Tensor, "*b trees d"]
    theta: Float[Tensor, "*b trees rays d"]


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
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
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
    check_number("p", float(p), low=1.0)
    check_number("sharpness", sharpness, low=0.0)
    x, y, a, b, batch = aligned(x, y, a, b)
    dtype = x.dtype
    x, y = (on_sphere(name, points) for name, points in (("x", x), ("y", y)))
    a, b = (None if held is None else held.to(x.dtype) for held in (a, b))
    if system is None:
        system = spherical_tree_system(x.shape[-1], generator=generator, dtype=x.dtype, device=x.device)
    batch = together(clouds=batch, system=together(root=system.root.shape[:-2], theta=system.theta.shape[:-3]))
    x, y = (points.expand(*batch, *points.shape[-2:]) for points in (x, y))
    a, b = (shares(points, w) for points, w in ((x, a), (y, b)))
    trees = system.to(x.dtype)

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        (place_x, share_x), (place_y, share_y) = (_shares(points, trees, chunk, sharpness) for points in (x, y))
        mass = torch.cat([share_x * a[..., None, None, :], -share_y * b[..., None, None, :]], -1)
        place, order = torch.cat([place_x, place_y], -1).sort(dim=-1, stable=True)
        mass = mass.gather(-1, order[..., None, :].expand(mass.shape))
        beyond = mass.flip(-1).cumsum(-1).flip(-1)
        length = place.diff(dim=-1, prepend=torch.zeros_like(place[..., :1]))
        return (length[..., None, :] * gap_power(beyond, p)).sum((-1, -2))

    scalars = 8 * trees.theta.shape[-2] * batch.numel() * (x.shape[-2] + y.shape[-2])
    cost, slices = mean_over_slices(costs, trees.root.shape[-2], scalars, (x, y, a, b))
    return Estimate(cost.to(dtype), slices.to(dtype), 1, float(p))


def _shares(points: Tensor, trees: SphericalTreeSystem, chunk: slice, sharpness: float) -> tuple[Tensor, Tensor]:
    """The angle from the root, (*b, trees, n), and the share of every ray, (*b, trees, rays, n)."""
    height = trees.root[..., chunk, :] @ points.mT
    along = (
        trees.theta[..., chunk, :, :] @ points[..., None, :, :].mT
    )  # rays are orthogonal to the root: only the tangential part counts
    radius = (1 - height.square()).clamp_min(1e-12).sqrt()
    edge = 1 - 4 * torch.finfo(points.dtype).eps
    angle = torch.arccos((along / radius[..., None, :]).clamp(-edge, edge))
    return torch.atan2(radius, height), (-sharpness * angle * radius[..., None, :]).softmax(-2)
