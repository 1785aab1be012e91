"""Transport with a quadratic penalty, whose plans are sparse."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import row_blocks
from monge._checks import check_count
from monge._value import value
from monge.errors import InputError
from monge.geometry import Geometry

from .base import Plan, Problem
from .fixed import Fixed
from .linear import Linear
from .marginal import pairing

__all__ = ["SparseLinear", "SparseTerms"]


class SparseTerms(NamedTuple):
    """The parts of the objective of a `SparseLinear` problem.

    Args:
        cost: <C, P>.
        penalty: (gamma / 2) sum P_ij^2.
    """

    cost: Float[Tensor, "*b"]
    penalty: Float[Tensor, "*b"]


@value
class SparseLinear(Problem):
    r"""Balanced transport with a quadratic penalty, and perhaps a limit of the nonzeros of every column.

    $$\min_P \langle C, P\rangle + \tfrac{\gamma}{2} \sum_{ij} P_{ij}^2, \qquad P 1 = a,\; P^\top 1 = b,\;
    \lVert P_{\cdot j}\rVert_0 \le k, \qquad \gamma = \epsilon\, n m / s^2,$$
    where s is the mass, and n and m count the points with weight. In these units $\epsilon$ is comparable to that of
    the entropy: the penalty of the independent plan of equal weights is $\epsilon / 2$ for every number of points.
    Plans are sparse already without a limit, and the sparser the smaller $\epsilon$ is. With a limit the problem is
    not convex; its dual is, and lies below all plans that keep the limit.

    Args:
        linear: Cost, two fixed marginals, and a positive epsilon, which is the strength of the penalty here.
        nonzeros: The most nonzeros k of a column; None sets no limit.

    Raises:
        InputError: If epsilon is zero, a marginal is not fixed, a mass is given, or the limit is less than one.

    Example:
        >>> import torch
        >>> from monge import solve
        >>> from monge.geometry import CostMatrix
        >>> from monge.problem import Linear, SparseLinear
        >>> linear = Linear(CostMatrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), epsilon=0.5)
        >>> solve(SparseLinear(linear)).coupling.dense()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])

    Source: Blondel, Seguy, Rolet, Smooth and sparse optimal transport (arXiv 1710.06276); Liu, Puigcerver, Blondel,
        Sparsity-constrained optimal transport (arXiv 2209.15466).
    """

    linear: Linear
    nonzeros: int | None = None

    def __post_init__(self) -> None:
        linear = self.linear
        if not isinstance(linear, Linear):
            raise InputError(
                f"linear must be a Linear problem, but is {type(linear).__name__}: pass Linear(cost, a, b)."
            )
        if not (isinstance(linear.source, Fixed) and isinstance(linear.target, Fixed)) or linear.mass is not None:
            raise InputError(
                "linear must have two Fixed marginals and no mass, but it has others: pass weights, as in "
                "Linear(cost, a, b, epsilon=0.1)."
            )
        if not linear.entropic:
            raise InputError(
                f"epsilon must be positive in SparseLinear, where it is the strength of the penalty, but its smallest "
                f"value is {float(linear.epsilon.min()):g}: give Linear an epsilon, or solve it without this penalty."
            )
        if self.nonzeros is not None:
            check_count("nonzeros", self.nonzeros)

    @property
    def geometry(self) -> Geometry:
        """The cost."""
        return self.linear.geometry

    @property
    def a(self) -> Float[Tensor, "*b n"]:
        """The weights of the rows."""
        return self.linear.a

    @property
    def b(self) -> Float[Tensor, "*b m"]:
        """The weights of the columns."""
        return self.linear.b

    @property
    def epsilon(self) -> Float[Tensor, "*b"]:
        """The strength of the penalty, in units of the cost."""
        return self.linear.epsilon

    @property
    def strength(self) -> Float[Tensor, "*b"]:
        """The factor of the penalty: epsilon times both numbers of points over the mass squared."""
        counts = (self.a > 0).sum(-1) * (self.b > 0).sum(-1)
        return self.epsilon * counts / self.a.sum(-1) ** 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plan."""
        return self.linear.shape

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return self.linear.batch_shape

    @property
    def traits(self) -> frozenset[str]:
        """What kind of problem it is, in the words of `monge.problem.TRAITS`."""
        return frozenset({"sparse"})

    def primal(self, P: Plan) -> Float[Tensor, "*b"]:
        """The objective at a plan; +inf if the plan breaks a marginal or the limit of nonzeros."""
        row, col = P.marginals()
        terms, linear = self.terms(P), self.linear
        value = terms.cost + terms.penalty + linear.source._penalty(row) + linear.target._penalty(col)
        return torch.where(self._kept(P), value, math.inf)

    def terms(self, P: Plan) -> SparseTerms:
        """The cost and the penalty of a plan."""
        squares = _over_rows(P, lambda block: (block * block).sum((-2, -1)))
        return SparseTerms(P.transport_cost(self.geometry), self.strength / 2 * squares)

    def dual(self, f: Float[Tensor, "*b n"], g: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        r"""A lower bound of the objective of every plan that keeps the limit, from any pair of potentials.

        It is $\langle a, f\rangle + \langle b, g\rangle - \frac{1}{2\gamma}\sum_j \sum_{i \in \mathrm{top}_k}
        [f_i + g_j - C_{ij}]_+^2$, where the k largest are taken in every column.
        """
        f = f.masked_fill(self.a == 0, -math.inf)
        total, turned, m = torch.zeros(self.batch_shape, dtype=f.dtype, device=f.device), self.geometry.T, self.shape[1]
        k = min(self.nonzeros or self.shape[0], self.shape[0])
        for some in row_blocks(m, 8 * self.shape[0] * max(2, self.geometry._scalars_per_entry())):
            room = (f[..., None, :] + g[..., some, None] - turned._block(some)).clamp_min(0)
            largest = room if k == self.shape[0] else room.topk(k, -1).values
            # A column without weight has no mass, whatever its potential is.
            total = total + ((largest**2).sum(-1) * (self.b[..., some] > 0)).sum(-1)
        g, f = g.masked_fill(self.b == 0, 0), f.masked_fill(self.a == 0, 0)
        return pairing(self.a, f) + pairing(self.b, g) - total / (2 * self.strength)

    def gap(
        self, P: Plan, f: Float[Tensor, "*b n"] | None = None, g: Float[Tensor, "*b m"] | None = None
    ) -> Float[Tensor, "*b"]:
        """The objective at a plan, with missed marginals priced by the potentials, less the dual value."""
        f, g = getattr(P, "f", f) if f is None else f, getattr(P, "g", g) if g is None else g
        if f is None or g is None:
            raise InputError(
                f"gap needs potentials f and g, but a {type(P).__name__} carries none: pass those of a DualSolution."
            )
        row, col = P.marginals()
        terms = self.terms(P)
        return self.linear._priced(terms.cost + terms.penalty, row, col, f, g) - self.dual(f, g)

    def _kept(self, P: Plan) -> Tensor:
        """Whether a plan keeps the limit."""
        if self.nonzeros is None:
            return torch.ones(self.batch_shape, dtype=torch.bool, device=self.a.device)
        counts = _over_rows(P, lambda block: (block > 0).sum(-2))
        return (counts <= self.nonzeros).all(-1)

    def _remembered(self) -> Geometry:
        return self.geometry

    def _select(self, index: Any) -> SparseLinear:
        return self._replace(linear=self.linear._select(index))


def _over_rows(P: Any, ask: Any) -> Tensor:
    """The sum over blocks of rows of what ``ask`` makes of them."""
    return sum((ask(block) for _, block in P.blocks()), start=torch.zeros(()))
