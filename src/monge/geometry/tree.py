"""Costs between the nodes of a tree."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import power
from monge._checks import check_floating, check_non_negative, check_number, check_span
from monge._transforms import transformable
from monge._value import value
from monge.errors import InputError, ShapeError

from ._range import check_range, log_largest
from .base import Geometry, Rows
from .graph import chosen_nodes

__all__ = ["Tree"]


@value
class Tree(Geometry):
    r"""The power of the distance along a tree, $d(i, j)^p$.

    $d(i, j)$ is the sum of the lengths of the edges between two nodes. It is computed without cancellation, and the
    lengths receive gradients. Between nodes of different trees of a forest the cost is +inf. Use `from_parents` to
    build it.

    Args:
        length: The length of the edge from each node to its parent; a root has no such edge, and its number is ignored.
        source_path: For each source the nodes from the root down to it, filled up with -1.
        target_path: The same for each target.
        p: The power, at least one.

    Raises:
        ShapeError, DtypeError: If the paths are not node numbers of one depth.
        InputError: If a length is negative or not finite, a node does not exist, or ``p`` is out of range.
    """

    length: Float[Tensor, "*b nodes"]
    source_path: Int[Tensor, "n depth"]
    target_path: Int[Tensor, "m depth"]
    p: float = 1.0
    _sides = (("source_path", "target_path"),)

    def __post_init__(self) -> None:
        check_floating("length", self.length)
        check_non_negative("length", self.length, "take absolute values")
        last = self.length.shape[-1] - 1
        for name, path in (("source_path", self.source_path), ("target_path", self.target_path)):
            if path.ndim != 2 or path.dtype != torch.long or 0 in path.shape:
                raise ShapeError(
                    f"{name} must hold node numbers (torch.long) of shape (points, depth), but is {path.dtype} of "
                    f"shape {tuple(path.shape)}: build it with Tree.from_parents."
                )
            rule = f"hold nodes in [0, {last}] or -1"
            check_span(name, path, -1, last, rule=rule, remedy="build it with Tree.from_parents")
        if self.source_path.shape[-1] != self.target_path.shape[-1]:
            raise ShapeError(
                f"source_path and target_path must have the same depth, but have {self.source_path.shape[-1]} and "
                f"{self.target_path.shape[-1]} levels: fill the shorter one up with -1."
            )
        check_number("p", self.p, low=1.0, high=1e6)
        # No path takes an edge twice.
        check_range(self.p * log_largest(self.length.detach().double().sum(-1)), self.dtype)

    @classmethod
    @transformable
    def from_parents(
        cls,
        parent: Int[Tensor, " nodes"],
        length: Float[Tensor, "*b nodes"],
        *,
        sources: Int[Tensor, " n"] | None = None,
        targets: Int[Tensor, " m"] | None = None,
        p: float = 1.0,
    ) -> Tree:
        """The costs between the nodes of a tree that is given by the parent of each node.

        Args:
            parent: The parent of each node, -1 for a root.
            length: The length of the edge to the parent; the number of a root is ignored.
            sources: The nodes that make the rows of the cost; by default all.
            targets: The nodes that make its columns; by default all.
            p: The power of the distance.

        Raises:
            InputError: If a node does not exist or the parents form a circle.

        Example:
            >>> import torch
            >>> from monge.geometry import Tree
            >>> Tree.from_parents(torch.tensor([-1, 0, 0]), torch.tensor([0.0, 1.0, 2.0])).dense()
            tensor([[0., 1., 2.],
                    [1., 0., 3.],
                    [2., 3., 0.]])
        """
        n = parent.shape[0]
        if parent.dtype != torch.long or parent.ndim != 1 or length.shape[-1:] != parent.shape:
            raise ShapeError(
                f"parent must be node numbers (torch.long), one for each length, but is {parent.dtype} of shape "
                f"{tuple(parent.shape)} and length has shape {tuple(length.shape)}: use parent.long()."
            )
        rule = f"hold nodes in [0, {n - 1}], or -1 for a root"
        check_span("parent", parent, -1, n - 1, rule=rule, remedy="number the nodes from zero")
        rows, columns = chosen_nodes("sources", sources, n, parent), chosen_nodes("targets", targets, n, parent)
        paths = _paths(parent)
        return cls(length, paths[rows], paths[columns], p)

    def _may_be_negative(self) -> bool:
        return False

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        return self._cost(self.source_path[rows][:, None], self.target_path[None])

    def _entries(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        if self.length.ndim > 1:
            return super()._entries(i, j)
        return self._cost(self.source_path[i], self.target_path[j])

    def _cost(self, source: Tensor, target: Tensor) -> Tensor:
        # The node -1 stands behind the last and has no length.
        length = torch.cat([self.length, torch.zeros_like(self.length[..., :1])], -1)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for level in range(1, source.shape[-1]):
            here, there = source[..., level], target[..., level]
            total = total + (length[..., here] + length[..., there]) * (here != there)
        apart = source[..., 0] != target[..., 0]
        return power(total, self.p).expand(*self.batch_shape, *apart.shape).masked_fill(apart, math.inf)

    def _scalars_per_entry(self) -> int:
        return 3


def _paths(parent: Tensor) -> Int[Tensor, "nodes depth"]:
    """The nodes from the root down to each node, filled up with -1."""
    climb = [torch.arange(len(parent), device=parent.device)]
    while bool((climb[-1] >= 0).any()):
        if len(climb) > len(parent):
            raise InputError(
                "parent must lead every node to a root, but some nodes form a circle: mark a root with -1."
            )
        climb.append(torch.where(climb[-1] >= 0, parent[climb[-1]], -1))
    upward = torch.stack(climb[:-1], 1)
    depth = (upward >= 0).sum(1, keepdim=True)
    place = depth - 1 - torch.arange(upward.shape[1], device=parent.device)
    return upward.gather(1, place.clamp_min(0)).masked_fill(place < 0, -1)
