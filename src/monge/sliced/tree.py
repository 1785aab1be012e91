"""Tree-sliced transport: systems of lines through a common root, on which points share their mass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from monge._arrays import power, working_dtype
from monge._checks import check_batches, check_number
from monge._users_arrays import takes_arrays
from monge._value import Value, value
from monge.errors import ShapeError

from ._aligned_clouds import Clouds, aligned, centred, equal_unless, noise, of_mass_one
from ._over_slices import chunks, mean_over_slices
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


@takes_arrays
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
        a: Non-negative weights of `x`, equal if None; absent points have no influence.
        b: The same for `y`.
        trees: Number of trees.
        lines: Number of lines of each tree, at most d.
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
    pooled = aligned(x.detach(), y.detach(), a, b)
    sides = ((pooled.x, pooled.a), (pooled.y, pooled.b))
    present = torch.cat([equal_unless(w, side[..., 0]) > 0 for side, w in sides], -1)
    mean, around = centred(torch.cat([pooled.x, pooled.y], -2).double(), present)
    spread = 0.1 * around.square().sum(-2, keepdim=True).sqrt()
    normal = noise((trees, d), generator, spread)
    theta = rotations(trees, d, generator=generator).mT[:, :lines]
    return TreeSystem((mean + spread * normal).to(working_dtype(x)), theta.to(x.device, working_dtype(x)))


@takes_arrays
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
    dtype, (x, y, a, b) = x.dtype, aligned(x, y, a, b).wide()
    # Around the clouds: far from the origin single precision rounds roots and points apart.
    centre = x.detach().mean(-2, keepdim=True)
    x, y = x - centre, y - centre
    if system is None:
        system = tree_system(x, y, a=a, b=b, generator=generator, lines=min(4, x.shape[-1]))
    else:
        system = TreeSystem(system.root.to(x) - centre, system.theta.to(x))

    def shared(points: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        away = points[..., None, :, :] - system.root[..., chunk, None, :]
        place = system.theta[..., chunk, :, :] @ away.mT
        off = (away.square().sum(-1)[..., None, :] - place.square()).clamp_min(1e-20).sqrt()
        return place, (-sharpness * off).softmax(-2)

    return over_trees(Clouds(x, y, a, b), system, shared, 1.0)._made_of(dtype)


def over_trees(
    clouds: Clouds,
    system: TreeSystem,
    shared: Callable[[Tensor, slice], tuple[Tensor, Tensor]],
    p: float,
) -> Estimate:
    """The mean over trees of the integral of |mass beyond a place|^p along all rays.

    ``shared(points, chunk)`` gives coordinates (*b, trees, lines or one, n) and the shares of all lines. Every line is
    two rays, which leave the root at zero.
    """
    x, y, a, b = clouds
    own = check_batches(root=system.root.shape[:-2], theta=system.theta.shape[:-3])
    batch = check_batches(clouds=x.shape[:-2], system=own)
    x, y = (points.expand(*batch, *points.shape[-2:]) for points in (x, y))

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        (place_x, share_x), (place_y, share_y) = shared(x, chunk), shared(y, chunk)
        place, order = pad(torch.cat([place_x, place_y], -1), (0, 1)).sort(dim=-1, stable=True)
        mass = pad(torch.cat([share_x * a[..., None, None, :], -share_y * b[..., None, None, :]], -1), (0, 1))
        outward = mass.gather(-1, order.expand(mass.shape)).cumsum(-1)
        beyond = torch.where(place[..., 1:] <= 0, outward[..., :-1], outward[..., -1:] - outward[..., :-1])
        return (place.diff(dim=-1) * power(beyond.abs(), p)).sum((-1, -2))

    scalars = 8 * system.theta.shape[-2] * batch.numel() * (x.shape[-2] + y.shape[-2])
    parts = chunks(system.root.shape[-2], scalars, x.element_size())
    tensors = (x, y, of_mass_one(a, x[..., 0]), of_mass_one(b, y[..., 0]))
    return Estimate(*mean_over_slices(costs, parts, tensors), 1, p)
