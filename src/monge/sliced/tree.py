"""Tree-sliced transport: systems of lines through a common root, on which points share their mass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._checks import check_number, check_points, check_same, check_weights
from monge._transforms import transformable
from monge._value import Value, value
from monge.errors import ShapeError

from ._mean import mean_over_slices
from .directions import rotations
from .estimate import Estimate

__all__ = ["TreeSystem", "tree_sliced_wasserstein", "tree_system"]


@value
class TreeSystem(Value):
    """Trees made of lines that meet in a root.

    Args:
        root: (T, d).
        theta: (T, k, d) unit vectors, the lines of each tree.
    """

    root: Float[Tensor, "trees d"]
    theta: Float[Tensor, "trees lines d"]


@transformable
def tree_system(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    trees: int = 32,
    lines: int = 4,
    generator: torch.Generator | None = None,
) -> TreeSystem:
    """Roots near the mean of the data, each with lines in orthonormal directions.

    Args:
        x: First cloud; it sets the centre and spread of the roots.
        y: Second cloud.
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
    pooled = torch.cat([x.detach(), y.detach()])
    normal = torch.randn(trees, d, generator=generator, dtype=torch.float64).to(x)
    spread = 0.1 * pooled.std(0, correction=0) if len(pooled) > 1 else torch.zeros_like(pooled[0])
    theta = rotations(trees, d, generator=generator).transpose(-1, -2)[:, :lines].to(x)
    return TreeSystem(pooled.mean(0) + spread * normal, theta)


@transformable
def tree_sliced_wasserstein(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    a: Float[Tensor, " n"] | None = None,
    b: Float[Tensor, " m"] | None = None,
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
        x: First cloud.
        y: Second cloud.
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
    check_points("x", x)
    check_points("y", y)
    check_same(x=x, y=y, a=a, b=b)
    check_number("sharpness", sharpness, low=0.0)
    if x.ndim != 2 or y.ndim != 2 or x.shape[-1] != y.shape[-1]:
        raise ShapeError(f"x and y must be single clouds of one space, but have {tuple(x.shape)} and {tuple(y.shape)}.")
    for name, weight, points in (("a", a, x), ("b", b, y)):
        if weight is not None:
            check_weights(name, weight, points.shape[-2])
    trees = tree_system(x, y, generator=generator, lines=min(4, x.shape[-1])) if system is None else system
    a = x.new_full(x.shape[:1], 1 / len(x)) if a is None else a / a.sum()
    b = y.new_full(y.shape[:1], 1 / len(y)) if b is None else b / b.sum()

    def costs(chunk: slice, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
        place_x, share_x = _shares(x, trees, chunk, sharpness)
        place_y, share_y = _shares(y, trees, chunk, sharpness)
        mass = torch.cat([share_x * a, -share_y * b], -1)
        return _star_distance(torch.cat([place_x, place_y], -1), mass).sum(-1)

    scalars = 8 * trees.theta.shape[1] * (len(x) + len(y))
    cost, slices = mean_over_slices(costs, len(trees.root), scalars, (x, y, a, b))
    return Estimate(cost, slices, 1, 1.0)


def _shares(points: Tensor, trees: TreeSystem, chunk: slice, sharpness: float) -> tuple[Tensor, Tensor]:
    """Coordinates and mass shares on every line, both (trees, lines, n)."""
    centred = points - trees.root[chunk, None, :]
    place = trees.theta[chunk] @ centred.transpose(-1, -2)
    off = (centred.square().sum(-1)[:, None, :] - place.square()).clamp_min(1e-20).sqrt()
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
