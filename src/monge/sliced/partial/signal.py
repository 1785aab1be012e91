"""Distances between signals, by partial transport of their graphs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._checks import check_number, check_points, check_same
from monge._users_arrays import takes_arrays
from monge.errors import ShapeError
from monge.geometry import PointCloud
from monge.problem import Linear, Relaxed
from monge.solver import solve

from .._aligned_clouds import equal_unless, midpoints
from ..estimate import Estimate
from .wasserstein import sliced_partial_wasserstein

__all__ = ["partial_transport_lp", "signal_graph", "sliced_partial_transport_lp"]


@takes_arrays
def signal_graph(
    f: Float[Tensor, "*b n k"],
    x: Float[Tensor, "*#b n d"] | None = None,
    *,
    beta: float = 1.0,
    p: float = 2.0,
) -> Float[Tensor, "*b n e"]:
    r"""The graph of a signal as a point cloud, $(\beta^{-1/p} x,\; f(x))$.

    Args:
        f: Values of k channels at n places, of any sign.
        x: The places; None is the midpoints of n equal parts of [0, 1].
        beta: How cheap it is to move along the domain: the cost is $|x - y|^p / \beta + |f(x) - g(y)|^p$.
        p: Order, at least 1.

    Example:
        >>> import torch
        >>> signal_graph(torch.tensor([[5.0], [7.0]]), beta=0.25)
        tensor([[0.5000, 5.0000],
                [1.5000, 7.0000]])
    """
    check_points("f", f)
    check_number("beta", float(beta), low=0.0, strict=True)
    check_number("p", float(p), low=1.0)
    n = f.shape[-2]
    if x is None:
        x = midpoints(n, f)[:, None]
    check_points("x", x)
    check_same(f=f, x=x)
    if x.shape[-2] != n:
        raise ShapeError(f"x must hold one place per value of f, {n}, but has shape {tuple(x.shape)}.")
    batch = broadcast_shapes(f.shape[:-2], x.shape[:-2])
    places, values = (part.expand(*batch, *part.shape[-2:]) for part in (beta ** (-1 / p) * x, f))
    return torch.cat([places, values], -1)


@takes_arrays
def partial_transport_lp(
    f: Float[Tensor, "*b n k"],
    g: Float[Tensor, "*b m k"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: float,
    beta: float = 1.0,
    p: float = 2.0,
    x: Float[Tensor, "*#b n d"] | None = None,
    y: Float[Tensor, "*#b m d"] | None = None,
) -> Float[Tensor, "*b"]:
    r"""The partial transport $L^p$ distance between signals, to the power p; exact.

    $$\mathrm{PTL}^p_{\beta,\lambda} = \min_{\gamma} \sum_{ij} \Big(\frac{\|x_i - y_j\|_p^p}{\beta}
    + \|f_i - g_j\|_p^p\Big) \gamma_{ij} + \lambda \big(|\mu - \gamma 1| + |\nu - \gamma^\top 1|\big)$$
    over partial plans. As in $L^p$, signals may have any sign and need not have the same integral. As in transport,
    features may move. If a burst or a gap exists in one signal only, for a share e of the time, it changes the value by
    at most $\lambda e$ on each side. With a large penalty this is $TL^p$. With a small beta features cannot move; with
    a large beta only the distributions of values are compared.

    Args:
        f: Values of the first signals, k channels at n places.
        g: Values of the second ones.
        a: Masses of the places of `f`; None is 1/n each.
        b: The same for `g`.
        penalty: Price of leaving a unit of mass, on either side, > 0.
        beta: How cheap it is to move along the domain.
        p: Order, at least 1; the p-th root is a metric.
        x: Places of `f`; None is the midpoints of n equal parts of [0, 1].
        y: Places of `g`.

    Source:
        Liu, Bai, Tran, Zhu, Thorpe, Kolouri, PTLp: Partial transport Lp distances (arXiv 2307.13571); Thorpe, Park,
        Kolouri, Rohde, Slepcev, A transportation Lp distance for signal analysis (arXiv 1609.08669).

    Example:
        >>> import torch
        >>> t = torch.arange(50.0)[:, None] / 50
        >>> bump = lambda centre: torch.exp(-((t - centre) / 0.05) ** 2)
        >>> near, far = (partial_transport_lp(bump(0.3), bump(0.3 + s), penalty=1.0) for s in (0.1, 0.5))
        >>> bool(near < far)
        True
    """
    check_number("penalty", float(penalty), low=0.0, strict=True)
    first, second, *weights = _graphs(f, g, a, b, x, y, beta, p)
    norm, order = ("sqeuclidean", 2.0) if p == 2 else ("minkowski", float(p))
    geometry = PointCloud(first, second, cost=norm, p=order, power=None if p == 2 else float(p))
    source, target = (Relaxed(w, float(penalty), "tv") for w in weights)
    return solve(Linear(geometry, source, target)).value


@takes_arrays
def sliced_partial_transport_lp(
    f: Float[Tensor, "*b n k"],
    g: Float[Tensor, "*b m k"],
    a: Float[Tensor, "*b n"] | None = None,
    b: Float[Tensor, "*b m"] | None = None,
    *,
    penalty: float | Tensor,
    beta: float = 1.0,
    p: float = 2.0,
    x: Float[Tensor, "*#b n d"] | None = None,
    y: Float[Tensor, "*#b m d"] | None = None,
    slices: int = 128,
    theta: Float[Tensor, "slices e"] | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    r"""The sliced form of `partial_transport_lp`: partial transport on lines in the space of the graphs.

    For p = 2 the slices are those of the Euclidean cost; for other orders they define another distance.

    Args:
        f: Values of the first signals, k channels at n places.
        g: Values of the second ones.
        a: Masses of the places of `f`; None is 1/n each.
        b: The same for `g`.
        penalty: Price of leaving a unit of mass, on either side, in units of the cost on a line, which is smaller than
            the cost in space.
        beta: How cheap it is to move along the domain.
        p: Order, at least 1.
        x: Places of `f`; None is the midpoints of n equal parts of [0, 1].
        y: Places of `g`.
        slices: How many directions to draw.
        theta: Directions of R^(d + k) to use instead.
        generator: Source of the directions.

    Source:
        Liu, Bai, Tran, Zhu, Thorpe, Kolouri, PTLp: Partial transport Lp distances (arXiv 2307.13571).

    Example:
        >>> import torch
        >>> f = torch.sin(torch.arange(40.0))[:, None]
        >>> sliced_partial_transport_lp(f, f, penalty=0.1).cost
        tensor(0.)
    """
    return sliced_partial_wasserstein(
        *_graphs(f, g, a, b, x, y, beta, p), penalty=penalty, p=p, slices=slices, theta=theta, generator=generator
    )


def _graphs(
    f: Tensor,
    g: Tensor,
    a: Tensor | None,
    b: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    beta: float,
    p: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The graphs of two signals of the same channels, and the masses of their places, 1/n each where none are given."""
    graphs = signal_graph(f, x, beta=beta, p=p), signal_graph(g, y, beta=beta, p=p)
    if f.shape[-1] != g.shape[-1]:
        raise ShapeError(f"f and g must have the same channels, but have {f.shape[-1]} and {g.shape[-1]}.")
    return *graphs, equal_unless(a, f[..., 0]), equal_unless(b, g[..., 0])
