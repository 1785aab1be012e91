"""Tree-sliced transport: systems of lines through a common root, on which points share their mass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_number
from monge._transforms import transformable
from monge._value import Value, value
from monge.errors import ShapeError

from ._clouds import aligned, shares, together
from ._mean import mean_over_slices
from .directions import rotations
from .estimate import Estimate

__all__ = ["TreeSystem", "tree_sliced_wasserstein", "tree_system"]


@value
class TreeSystem(Value):
    """Trees made of lines that meet in a root.

    Args:
        root: (*b, T, d).
        theta: (*b, T, k, d) unit vectors, the lines of each tree.
    """

    root: Float[Tensor, "*b trees d"]
    theta: Float[Tensor, "*b trees lines d"]


@transformable
def tree_system(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    *,
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    trees: int = 32,
    lines: int = 4,
    generator: torch.Generator | None = None,
) -> TreeSystem:
    """Roots near the mean of the data, each with lines in orthonormal directions.

    Args:
        x: First clouds; they set the centre and spread of the roots.
        y: Second clouds.
        a: Non-negative weights of `x`, equal if None: absent points set nothing.
        b: The same for `y`.
        trees: How many.
        lines: Per tree, at most d.
        generator: Source of randomness.

    Raises:
        ShapeError: More lines than dimensions.

    Example:
        >>> import torch
        >>> tree_system(torch.zeros(5, 3), torch.ones(4, 3), trees=2, lines=3).theta.shape
        torch.Size([2, 3, 3])
    """
    d = x.shape[-1]
    if not 1 <= lines <= d:
        raise ShapeError(f"lines must lie between 1 and the dimension {d} to be orthonormal, but is {lines}.")
    check_number("trees", trees, low=1)
    x, y, a, b, _ = aligned(x.detach(), y.detach(), a, b)
    pooled = torch.cat([x, y], -2).double()
    counts = [points.new_ones(points.shape[:-1]) if w is None else (w.detach() > 0) for points, w in ((x, a), (y, b))]
    share = torch.cat(counts, -1).double()[..., None]
    share = share / share.sum(-2, keepdim=True)
    mean = (share * pooled).sum(-2, keepdim=True)
    spread = 0.1 * (share * (pooled - mean).square()).sum(-2, keepdim=True).sqrt()
    normal = torch.randn(trees, d, generator=generator, dtype=torch.float64).to(x.device)
    theta = rotations(trees, d, generator=generator).transpose(-1, -2)[:, :lines]
    return TreeSystem((mean + spread * normal).to(working_dtype(x)), theta.to(x.device, working_dtype(x)))


@transformable
def tree_sliced_wasserstein(
    x: Float[Tensor, "*b n d"],
    y: Float[Tensor, "*b m d"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    system: TreeSystem | None = None,
    sharpness: float = 1.0,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The mean over random trees of the exact tree Wasserstein distance.

    Each point goes to every line of a tree at its coordinate $t_i = \langle x - r, \theta_i\rangle$, with a share
    $\mathrm{softmax}_i(-\delta\,\mathrm{dist}(x, \text{line}_i))$ of its mass. On the star of rays that the lines form,
    $$W_1 = \sum_{\text{rays}} \int_0^\infty |\mu_{\text{ray}}(t > s) - \nu_{\text{ray}}(t > s)|\,ds,$$
    one sort per line.

    Args:
        x: First clouds.
        y: Second clouds.
        a: Non-negative weights of `x`, equal if None; scaled to mass one.
        b: The same for `y`.
        system: The trees, drawn around the data if None; sharing them makes the value a pseudo-metric.
        sharpness: delta >= 0; zero gives every line an equal share.
        generator: Source of the trees.

    Returns:
        An `Estimate` of order one, with a cost per tree.

    Source:
        Tran et al., Tree-sliced Wasserstein distance on a system of lines (arXiv 2406.13725), and arXiv 2503.11050 for
        the shares by distance.

    Example:
        >>> import torch
        >>> line = TreeSystem(torch.zeros(1, 1), torch.ones(1, 1, 1))
        >>> tree_sliced_wasserstein(torch.tensor([[1.0]]), torch.tensor([[-2.0]]), system=line).cost
        tensor(3.)
    """
    check_number("sharpness", sharpness, low=0.0)
    x, y, a, b, batch = aligned(x, y, a, b)
    dtype, wide = x.dtype, working_dtype(x)
    # Around the clouds: far from the origin single precision rounds roots and points apart.
    centre = x.detach().to(wide).mean(-2, keepdim=True)
    x, y = x - centre, y - centre
    a, b = (None if held is None else held.to(wide) for held in (a, b))
    if system is None:
        system = tree_system(x, y, a=a, b=b, generator=generator, lines=min(4, x.shape[-1]))
    else:
        system = TreeSystem(system.root.to(wide) - centre, system.theta.to(wide))
    batch = together(clouds=batch, system=together(root=system.root.shape[:-2], theta=system.theta.shape[:-3]))
    x, y = (points.expand(*batch, *points.shape[-2:]) for points in (x, y))
    a, b = (shares(points, w) for points, w in ((x, a), (y, b)))
    trees = system

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        place_x, share_x = _shares(x, trees, chunk, sharpness)
        place_y, share_y = _shares(y, trees, chunk, sharpness)
        mass = torch.cat([share_x * a[..., None, None, :], -share_y * b[..., None, None, :]], -1)
        return _star_distance(torch.cat([place_x, place_y], -1), mass).sum(-1)

    scalars = 8 * trees.theta.shape[-2] * batch.numel() * (x.shape[-2] + y.shape[-2])
    cost, slices = mean_over_slices(costs, trees.root.shape[-2], scalars, (x, y, a, b))
    return Estimate(cost.to(dtype), slices.to(dtype), 1, 1.0)


def _shares(points: Tensor, trees: TreeSystem, chunk: slice, sharpness: float) -> tuple[Tensor, Tensor]:
    """Coordinates and mass shares on every line, both (*b, trees, lines, n)."""
    centred = points[..., None, :, :] - trees.root[..., chunk, None, :]
    place = trees.theta[..., chunk, :, :] @ centred.transpose(-1, -2)
    off = (centred.square().sum(-1)[..., None, :] - place.square()).clamp_min(1e-20).sqrt()
    return place, (-sharpness * off).softmax(-2)


def _star_distance(place: Tensor, mass: Tensor) -> Tensor:
    """The two rays of each line: what lies beyond every gap, seen from the root at zero."""
    zero = torch.zeros_like(place[..., :1])
    place, order = torch.cat([place, zero], -1).sort(dim=-1, stable=True)
    mass = torch.cat([mass, zero], -1).gather(-1, order)
    outward = mass.cumsum(-1)
    left, right = place[..., :-1], place[..., 1:]
    total = outward[..., -1:]
    beyond = torch.where(right <= 0, outward[..., :-1], total - outward[..., :-1])
    return ((right - left) * beyond.abs()).sum(-1)
