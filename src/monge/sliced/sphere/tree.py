"""Tree-sliced transport on the sphere: stars of half great circles, on which points share their mass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from monge._checks import check_number
from monge._users_arrays import takes_arrays
from monge._value import value
from monge.errors import ShapeError

from ..directions import directions
from ..estimate import Estimate
from ..tree import TreeSystem, over_trees
from .wasserstein import on_sphere

__all__ = ["SphericalTreeSystem", "spherical_tree_sliced_wasserstein", "spherical_tree_system"]


@value
class SphericalTreeSystem(TreeSystem):
    """Trees made of half great circles that leave a root.

    Args:
        root: (*b, T, d) unit vectors.
        theta: (*b, T, k, d) unit vectors orthogonal to the root: the direction of each ray.
    """


@takes_arrays
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
        trees: Number of trees.
        rays: Number of rays of each tree.
        generator: Source of randomness.
        dtype: Dtype of the result.
        device: Device of the result.

    Raises:
        ShapeError: The dimension is less than two, so that there is no sphere.

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
    theta = normalize(tangent, dim=-1)
    return SphericalTreeSystem(root, theta).to(dtype=dtype, device=device)


@takes_arrays
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
    r"""The mean over random trees on the sphere of a tree distance with a closed form.

    A point at angle $t$ from the root goes to every ray, at the same coordinate $t$, with the share
    $\mathrm{softmax}_i(-\delta \angle_i \sin t)$, $\angle_i$ the angle between the ray and the point's own direction
    from the root. With $\mu_i(t > s)$ the mass on ray $i$ farther than $s$,
    $$\sum_i \int_0^\pi |\mu_i(t > s) - \nu_i(t > s)|^p\, ds,$$
    which is the tree Wasserstein distance for p = 1. One sort per tree is enough for all its rays. Lengths are in
    radians.

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
    dtype = x.dtype
    clouds = on_sphere(x, y, a, b)
    if system is None:
        system = spherical_tree_system(x.shape[-1], generator=generator, dtype=clouds.x.dtype, device=x.device)
    trees = system.to(clouds.x.dtype)

    def shared(points: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        """The angle from the root, for all rays the same, and the shares of the rays."""
        height = trees.root[..., chunk, None, :] @ points[..., None, :, :].mT
        along = trees.theta[..., chunk, :, :] @ points[..., None, :, :].mT  # rays are orthogonal to the root
        radius = (1 - height.square()).clamp_min(1e-12).sqrt()
        edge = 1 - 4 * torch.finfo(points.dtype).eps
        angle = torch.arccos((along / radius).clamp(-edge, edge))
        return torch.atan2(radius, height), (-sharpness * angle * radius).softmax(-2)

    return over_trees(clouds, trees, shared, float(p))._made_of(dtype)
