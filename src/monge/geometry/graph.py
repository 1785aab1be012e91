"""Costs between the nodes of a graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import power, rows_per_block
from monge._checks import check_count, check_floating, check_non_negative, check_number, check_span
from monge._transforms import transformable
from monge._value import value
from monge.errors import DenseLimitError, InfeasibleError, InputError, ShapeError

from ._range import check_range, log_largest
from .cost_matrix import CostMatrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Graph", "chosen_nodes"]


@value
class Graph(CostMatrix):
    r"""The power of a distance between nodes of a graph, $d(i, j)^p$.

    `from_edges` and `from_adjacency` compute the distances once, between all nodes or between chosen nodes, and the
    geometry stores them as a matrix. Two nodes without a path between them have cost +inf: no mass can move there.

    Args:
        cost: The cost of each pair; +inf forbids it.

    Raises:
        ShapeError: If it is not a matrix or is empty.
        InputError: If it holds NaN or -inf.
    """

    @classmethod
    @transformable(constant=True)
    def from_edges(
        cls,
        edges: Int[Tensor, "2 e"],
        length: Float[Tensor, " e"],
        n: int | None = None,
        *,
        p: float = 2.0,
        directed: bool = False,
        sources: Int[Tensor, " k"] | None = None,
        targets: Int[Tensor, " l"] | None = None,
        time: float | None = None,
        steps: int = 16,
        max_bytes: int = 2**30,
    ) -> Graph:
        r"""Distances along the edges of a graph.

        By default $d$ is the length of the shortest path, exact, with gradients to the lengths of the edges on it. With
        a ``time`` $t$ it is $d^2 = -4t \log k_t$ (Varadhan), where $k_t = (I + \tfrac{t}{s} L)^{-s}$ is the heat kernel
        after $s$ implicit Euler steps and $L$ is the Laplacian with conductances $1 / \text{length}^2$. This distance
        is smoother than the shortest path and depends less on single edges. Choose $t$ as a few squared lengths of an
        edge or more. It has no gradient.

        Args:
            edges: The nodes that each edge joins. Of parallel edges, paths use the shortest one, and heat uses all.
            length: The length of each edge; non-negative, and positive for heat.
            n: The number of nodes; by default one more than the largest in ``edges``.
            p: The power of the distance.
            directed: Whether an edge leads only from ``edges[0]`` to ``edges[1]``.
            sources: The nodes that make the rows of the cost; by default all.
            targets: The nodes that make its columns; by default all.
            time: The diffusion time of the heat kernel; None takes shortest paths.
            steps: Implicit Euler steps of the heat kernel.
            max_bytes: The largest cost matrix that is allowed, in bytes.

        Raises:
            ShapeError, DtypeError: If edges and lengths do not fit together.
            InputError: If a node does not exist, a length is negative or not finite, or heat is asked of a directed
                graph, of edges of length zero, or for gradients.
            InfeasibleError: If heat cannot be resolved at nodes that are connected: the time is too short.
            DenseLimitError: If the cost matrix would be too large.

        Example:
            >>> import torch
            >>> from monge.geometry import Graph
            >>> Graph.from_edges(torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, 2.0]), 4, p=1).dense()
            tensor([[0., 1., 3., inf],
                    [1., 0., 2., inf],
                    [3., 2., 0., inf],
                    [inf, inf, inf, 0.]])

        Source: Varadhan, "On the behavior of the fundamental solution of the heat equation with variable coefficients"
        (1967); Crane, Weischedel, Wardetzky, "Geodesics in heat" (arXiv 1204.6216), for implicit steps.
        """
        n = _check_edges(edges, length, n)
        check_number("p", p, low=1.0, high=1e6)
        rows, columns = chosen_nodes("sources", sources, n, length), chosen_nodes("targets", targets, n, length)
        size = len(rows) * len(columns) * length.element_size()
        if size > max_bytes:
            raise DenseLimitError(
                f"The distances between {len(rows)} sources and {len(columns)} targets take {size:,} bytes, more than "
                f"max_bytes={max_bytes:,}: choose fewer nodes with sources= and targets=, or raise max_bytes."
            )
        if time is None:
            i, j = edges if directed else torch.cat([edges, edges.flip(0)], 1)
            length = length if directed else torch.cat([length, length])
            return cls(_powered(_shortest(i, j, length, n, rows, columns), p))
        _check_heat(length, directed, time, steps)
        return cls(_powered(_heat(edges, length, n, rows, columns, time, steps), p / 2))

    @classmethod
    @transformable(constant=True)
    def from_adjacency(cls, adjacency: Float[Tensor, "n n"], **options: Any) -> Graph:
        """Distances along the edges of a graph that is given as a matrix of lengths.

        Args:
            adjacency: The length of the edge from each node to each node; 0 and inf mean no edge. A sparse tensor
                stores its edges, those of length zero included.
            options: As in `from_edges`, except ``n`` and ``directed``, which follow from the matrix.

        Raises:
            ShapeError: If the matrix is not square.
            InputError: As in `from_edges`.

        Example:
            >>> import torch
            >>> from monge.geometry import Graph
            >>> Graph.from_adjacency(torch.tensor([[0.0, 3.0], [3.0, 0.0]]), p=1).dense()
            tensor([[0., 3.],
                    [3., 0.]])
        """
        check_floating("adjacency", adjacency)
        if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
            raise ShapeError(
                f"adjacency must be a square matrix of shape (n, n), but has shape {tuple(adjacency.shape)}: for edges "
                f"between two sets of nodes, number the nodes of both sets together."
            )
        for taken in ("n", "directed"):
            if taken in options:
                raise InputError(
                    f"{taken}={options[taken]!r} must not be given, because the adjacency matrix says it: leave it out."
                )
        if adjacency.layout == torch.strided:
            adjacency = adjacency.masked_fill(adjacency == math.inf, 0)
        stored = adjacency.to_sparse_coo().coalesce()
        directed = options.get("time") is None
        edges, length = (stored.indices(), stored.values()) if directed else _undirected(stored)
        return cls.from_edges(edges, length, adjacency.shape[0], directed=directed, **options)

    def _may_be_negative(self) -> bool:
        return False


def _powered(distance: Tensor, p: float) -> Tensor:
    reached = distance.detach()[distance.detach() < math.inf]
    check_range(p * log_largest(reached), distance.dtype)
    return power(distance, p)


def _shortest(i: Tensor, j: Tensor, length: Tensor, n: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Lengths of shortest paths; if lengths need gradients, as sums over the edges of one shortest-path tree each."""
    from scipy.sparse.csgraph import dijkstra

    # Of parallel edges the shortest: the order is by pair and then by length.
    order = torch.argsort(length.detach(), stable=True)
    order = order[torch.argsort((i * n + j)[order], stable=True)]
    pair, count = (i * n + j)[order].unique_consecutive(return_counts=True)
    order = order[count.cumsum(0) - count]
    matrix = _sparse(i[order], j[order], length[order], n)
    parts = []
    for some in rows.split(rows_per_block(8 * n)):
        found, before = dijkstra(matrix, indices=some.cpu().numpy(), return_predecessors=True)
        distance = torch.from_numpy(found).to(length)
        if length.requires_grad:
            tree = torch.from_numpy(before).to(device=length.device, dtype=torch.long)
            distance = _along(tree, distance, pair, length[order], n)
        parts.append(distance[:, columns])
    return torch.cat(parts)


def _along(tree: Tensor, distance: Tensor, pair: Tensor, length: Tensor, n: int) -> Tensor:
    """Distances from the root of each tree, as differentiable sums of edge lengths, by doubling."""
    node = torch.arange(n, device=tree.device).expand(tree.shape)
    root = tree < 0
    above = torch.where(root, node, tree)
    edge = torch.searchsorted(pair, above * n + node).clamp_max(len(pair) - 1)
    total = length[edge].masked_fill(root, 0)
    while bool((above.gather(-1, above) != above).any()):
        total = total + total.gather(-1, above)
        above = above.gather(-1, above)
    return total.masked_fill(distance == math.inf, math.inf)


def _heat(
    edges: Tensor, length: Tensor, n: int, rows: Tensor, columns: Tensor, time: float, steps: int
) -> Float[Tensor, "k l"]:
    """-4 t log of the heat kernel; factorised once, solved for blocks of targets."""
    from scipy.sparse import diags, identity
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import splu

    apart = edges[0] != edges[1]
    ends = torch.cat([edges, edges.flip(0)], 1)[:, apart.repeat(2)]
    conductance = length[apart].double().square().reciprocal().repeat(2)
    joined = _sparse(ends[0], ends[1], conductance, n)
    degree = torch.zeros(n, dtype=torch.float64, device=length.device).index_add(0, ends[0], conductance)
    laplacian = diags(degree.cpu().numpy()) - joined
    # No pivoting: elimination of this matrix adds numbers of one sign, so that even tiny entries keep their digits.
    solver = splu(
        (identity(n) + (time / steps) * laplacian).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    component = torch.from_numpy(connected_components(joined, directed=False)[1]).to(length.device)
    parts = []
    for some in columns.split(rows_per_block(8 * n)):
        start = torch.zeros(n, len(some), dtype=torch.float64)
        start[some.cpu(), torch.arange(len(some))] = 1
        heat = start.numpy()
        for _ in range(steps):
            heat = solver.solve(heat)
        reached = torch.from_numpy(heat).to(length.device)[rows]
        together = component[rows][:, None] == component[some]
        if bool((together & ~(reached > 0)).any()):
            raise InfeasibleError(
                f"time={time!r} is too short: at some connected nodes, the heat is so small that float64 cannot hold "
                f"it. Take a longer time (a few squared edge lengths, here {float(length.square().mean()):.3g}), "
                f"or shortest paths (time=None)."
            )
        square = -4 * time * reached.masked_fill(~together, 1).log()
        parts.append(square.clamp_min(0).masked_fill(~together, math.inf).to(length.dtype))
    return torch.cat(parts, 1)


def _sparse(i: Tensor, j: Tensor, entries: Tensor, n: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    numbers = entries.detach().double().cpu().numpy()
    return csr_matrix((numbers, (i.cpu().numpy(), j.cpu().numpy())), shape=(n, n))


def _undirected(stored: Tensor) -> tuple[Tensor, Tensor]:
    """Each edge of a symmetric sparse matrix once."""
    edges, length, back = stored.indices(), stored.values(), stored.t().coalesce()
    if not (torch.equal(edges, back.indices()) and torch.equal(length, back.values())):
        raise InputError(
            "adjacency must be symmetric for a heat kernel, but some edge has another length in the other direction: "
            "take for example (adjacency + adjacency.T) / 2, or shortest paths (time=None)."
        )
    upper = edges[0] <= edges[1]
    return edges[:, upper], length[upper]


def chosen_nodes(name: str, nodes: Any, n: int, like: Tensor) -> Tensor:
    """Numbers of nodes in [0, n), by default all."""
    if nodes is None:
        return torch.arange(n, device=like.device)
    nodes = torch.as_tensor(nodes, device=like.device)
    if nodes.ndim != 1 or nodes.is_floating_point() or nodes.dtype == torch.bool or len(nodes) == 0:
        raise ShapeError(
            f"{name} must be a list of nodes, but is {nodes.dtype} of shape {tuple(nodes.shape)}: pass for example "
            f"torch.tensor([0, 3])."
        )
    _check_nodes(name, nodes, n)
    return nodes.long()


def _check_nodes(name: str, nodes: Tensor, n: int) -> None:
    remedy = "number the nodes from zero, or pass their number"
    check_span(name, nodes, 0, n - 1, rule=f"be nodes in [0, {n - 1}]", remedy=remedy)


def _check_edges(edges: Any, length: Any, n: int | None) -> int:
    check_floating("length", length)
    if not isinstance(edges, Tensor) or edges.dtype != torch.long or edges.ndim != 2 or edges.shape[0] != 2:
        told = f"{edges.dtype} of shape {tuple(edges.shape)}" if isinstance(edges, Tensor) else type(edges).__name__
        raise ShapeError(
            f"edges must be a tensor of node numbers (torch.long) of shape (2, e), but is {told}: stack the two "
            f"ends of each edge, torch.stack([i, j])."
        )
    if length.shape != edges.shape[1:]:
        raise ShapeError(
            f"length must hold one number for each of the {edges.shape[1]} edges, but has shape {tuple(length.shape)}."
        )
    check_non_negative("length", length, "take absolute values")
    if n is None:
        n = int(edges.max()) + 1 if edges.numel() else 0
    check_count("n", n)
    _check_nodes("edges", edges, n)
    return n


def _check_heat(length: Tensor, directed: bool, time: Any, steps: Any) -> None:
    check_number("time", time, low=0.0, strict=True)
    check_count("steps", steps)
    if directed:
        raise InputError("A directed graph has no heat kernel: leave directed out, or take shortest paths (time=None).")
    if length.requires_grad:
        raise InputError(
            "length requires a gradient, which a heat kernel does not give: pass length.detach(), or take shortest "
            "paths (time=None)."
        )
    if bool((length == 0).any()):
        raise InputError("length must be positive for a heat kernel, but one is zero: merge the nodes it joins.")
