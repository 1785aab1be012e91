"""What a coupling is: a transport plan, known through the questions it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._batch import broadcast_shapes
from monge._transforms import transformable
from monge.errors import InfeasibleError, InputError

from . import _stream, _validate
from ._numbers import accumulator, draw, fraction, positive_log
from ._representation import Entries, Representation, Rows

if TYPE_CHECKING:
    from monge.geometry import Geometry
    from monge.problem import Linear

    from .glued import GluedCoupling
    from .sparse import SparseCoupling
    from .sum import SumCoupling

__all__ = ["Coupling", "Entries", "Rows"]


class Coupling(Representation):
    """A transport plan P of shape (*b, n, m): a linear operator with marginals.

    P_ij >= 0 is the mass that moves from source point i to target point j. A representation writes `_shape`,
    `_transpose`, `_matmul` and `_block`; every question below then has an answer that streams over blocks of
    rows, differentiable with respect to the tensors of the representation, without an n x m matrix. Where a
    representation knows a shorter way it overrides the private method behind the question.

    A coupling is a value: it caches nothing and has no settings. Leading dimensions are batch dimensions. A row
    or a column without mass is a point that is absent.

    Example:
        >>> import torch
        >>> from monge.coupling import DenseCoupling
        >>> P = DenseCoupling(torch.tensor([[0.5, 0.0], [0.25, 0.25]]))
        >>> P @ torch.tensor([1.0, 2.0])
        tensor([0.5000, 0.7500])
        >>> P.barycentric(torch.tensor([1.0, 2.0]))
        tensor([1.0000, 1.5000])
        >>> P.T.marginals()
        (tensor([0.7500, 0.2500]), tensor([0.5000, 0.5000]))
    """

    # ------------------------------------------------------------------ the operator

    @final
    @transformable
    def __matmul__(self, v: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The product P v, as `torch.matmul` understands it.

        Args:
            v: Values of the target points: (m,) for one number a point, otherwise (*b, m, k).

        Returns:
            sum_j P_ij v_j, of shape (*b, n) or (*b, n, k).

        Raises:
            ShapeError, DtypeError, DeviceError: If the values do not fit the plan.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0]), torch.ones(2)) @ torch.tensor([3.0, 5.0])
            tensor([5., 3.])
        """
        values, batch = _validate.values(self, v)
        return self._finish(self._matmul(values), v, batch)

    @final
    @transformable
    def barycentric(self, v: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        r"""The mean value that each source point meets, $\sum_j P_{ij} v_j / \sum_j P_{ij}$: E[v | i].

        One streamed pass. With target points as values this is the barycentric map; with the values of an
        attention layer it is attention.

        Args:
            v: Values of the target points: (m,) for one number a point, otherwise (*b, m, k).

        Returns:
            The means, of shape (*b, n) or (*b, n, k); zero, with zero gradients, where a row has no mass.

        Raises:
            ShapeError, DtypeError, DeviceError: If the values do not fit the plan.

        Example:
            >>> import torch
            >>> from monge.coupling import ProductCoupling
            >>> P = ProductCoupling(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
            >>> P.barycentric(torch.tensor([0.0, 4.0]))
            tensor([3., 3.])
        """
        values, batch = _validate.values(self, v)
        return self._finish(self._average(values), v, batch)

    def _finish(self, out: Tensor, v: Tensor, batch: torch.Size) -> Tensor:
        out = out.to(v.dtype).expand(*batch, *out.shape[-2:])
        return out[..., 0] if v.ndim == 1 else out

    @final
    @transformable
    def marginals(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        """The masses P 1 and P^T 1 that the plan really has.

        Returns:
            Row sums and column sums.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> DenseCoupling(torch.tensor([[0.5, 0.0], [0.25, 0.25]])).marginals()
            (tensor([0.5000, 0.5000]), tensor([0.7500, 0.2500]))
        """
        *batch, n, m = self._shape()
        row, col = self._marginals()
        return row.expand(*batch, n), col.expand(*batch, m)

    # ------------------------------------------------------------------ numbers

    @final
    @transformable
    def transport_cost(self, geometry: Geometry | None = None) -> Float[Tensor, "*b"]:
        r"""The cost $\langle P, C \rangle = \sum_{ij} P_{ij} C_{ij}$ of moving the mass.

        No mass on a forbidden pair costs nothing; any mass there costs infinity.

        Args:
            geometry: The costs. A plan made of potentials knows its own; others have to be told.

        Returns:
            One number per problem, differentiable in the plan and in the costs.

        Raises:
            InputError: If no geometry is given to a plan that keeps none.
            ShapeError, DtypeError, DeviceError: If costs and plan do not fit together.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> from monge.geometry import PointCloud
            >>> x = torch.tensor([[0.0], [1.0]])
            >>> PermutationCoupling(torch.tensor([1, 0])).transport_cost(PointCloud(x, x))
            tensor(1.)
        """
        if geometry is None:
            geometry = self._own_geometry()
            if geometry is None:
                raise InputError(
                    f"geometry must be given, since a {type(self).__name__} keeps no costs: "
                    "pass transport_cost(PointCloud(x, y)) or the geometry of the problem."
                )
        else:
            _validate.geometry(self, geometry)
        batch = broadcast_shapes(self.batch_shape, geometry.batch_shape)
        return self._inner(geometry).expand(batch)

    @final
    @transformable
    def entropy(self) -> Float[Tensor, "*b"]:
        r"""The entropy $-\sum_{ij} P_{ij} \log P_{ij}$ with 0 log 0 = 0.

        Returns:
            One number per problem, in nats. Its derivative at an empty entry is taken to be zero.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0])).entropy()
            tensor(0.6931)
        """
        return self._entropy().to(self.dtype).expand(self.batch_shape)

    @final
    @transformable
    def kl(self, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        r"""The divergence from independence, $\sum_{ij} P_{ij} \log\frac{P_{ij}}{a_i b_j} - P_{ij} + a_i b_j$.

        Args:
            a: Reference weights of the source points.
            b: Reference weights of the target points.

        Returns:
            One number per problem; +inf if there is mass where the reference has none.

        Raises:
            ShapeError, DtypeError, DeviceError: If weights and plan do not fit together.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> half = torch.tensor([0.5, 0.5])
            >>> PermutationCoupling(torch.tensor([0, 1])).kl(half, half)
            tensor(0.6931)
        """
        _validate.weights(self, a, b)
        row, col = self.marginals()
        row, col = row.to(accumulator(row.dtype)), col.to(accumulator(col.dtype))
        expected = (row * positive_log(a)).sum(-1) + (col * positive_log(b)).sum(-1)
        outside = ((row > 0) & (a == 0)).any(-1) | ((col > 0) & (b == 0)).any(-1)
        value = self._entropy().neg() - expected - row.sum(-1) + a.sum(-1) * b.sum(-1)
        return value.masked_fill(outside, math.inf).to(self.dtype)

    @final
    @transformable
    def gap(self, problem: Linear) -> Float[Tensor, "*b"]:
        """How far the plan can be from the optimum of a problem: its objective less the dual bound.

        Args:
            problem: A problem of the same shape.

        Returns:
            One number per problem, zero at the solution.

        Raises:
            InputError: If the plan carries no potentials: then use ``problem.gap(P, f, g)``.
        """
        return problem.gap(self)

    # ------------------------------------------------------------------ partners

    @final
    @transformable
    @torch.no_grad()
    def pair(self, *, generator: torch.Generator | None = None) -> tuple[Int[Tensor, "*b n"], Int[Tensor, "*b n"]]:
        """One partner for every source point, drawn from its row; of a permutation, the bijection itself.

        Every row is used exactly once, unlike in `sample`. Rows without mass have no partner and are left out,
        which needs a plan without batch dimensions.

        Args:
            generator: Source of randomness.

        Returns:
            Source points i in increasing order and their partners j.

        Raises:
            InputError: If a plan with batch dimensions has a row without mass.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([2, 0, 1])).pair()
            (tensor([0, 1, 2]), tensor([2, 0, 1]))
        """
        *batch, n, _ = self._shape()
        present = self._row_sums().expand(*batch, n) > 0
        i = torch.arange(n, device=self.device).expand(*batch, n)
        if not bool(present.all()):
            if batch:
                raise InputError(
                    f"pair needs mass in every row of a batch, but {int((~present).sum())} rows have none, the "
                    f"first at {tuple(int(k) for k in (~present).nonzero()[0])}: take the problems one by one, "
                    "P[i].pair()."
                )
            i = i[present]
        return i, self._sample_rows(i, self._uniform(i.shape, generator))

    @final
    @transformable
    @torch.no_grad()
    def sample(
        self, k: int, *, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, "*b k"], Int[Tensor, "*b k"]]:
        """Independent pairs (i, j) with probability P_ij / mass.

        Args:
            k: How many.
            generator: Source of randomness.

        Returns:
            Source points and target points, of shape (*b, k).

        Raises:
            InfeasibleError: If a problem has no mass.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> DenseCoupling(torch.tensor([[0.0, 1.0], [0.0, 0.0]])).sample(2)
            (tensor([0, 0]), tensor([1, 1]))
        """
        _validate.count("k", k, low=0)
        *batch, n, _ = self._shape()
        row = self._row_sums().expand(*batch, n)
        if not bool((row.sum(-1) > 0).all()):
            raise InfeasibleError("sample needs a plan with mass, but it has none: there is nothing to draw from.")
        i = draw(row, self._uniform((*batch, k), generator))
        return i, self._sample_rows(i, self._uniform((*batch, k), generator))

    def _uniform(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, device=self.device, generator=generator)

    @final
    @transformable
    @torch.no_grad()
    def assignment(self) -> Int[Tensor, "*b n"]:
        r"""The bijection that keeps most of the plan, $\max_\sigma \sum_i P_{i\sigma(i)}$; a permutation is its own.

        Raises:
            ShapeError: If the plan is not square.
            DenseLimitError: If the plan is too large for a dense matrix, which the search needs.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> DenseCoupling(torch.tensor([[0.2, 0.3], [0.4, 0.1]])).assignment()
            tensor([1, 0])
        """
        _validate.square(self)
        known = self._assignment()
        return _stream.assignment(self.dense()) if known is None else known

    # ------------------------------------------------------------------ sparser plans

    @final
    @transformable
    def top_k(self, k: int) -> SparseCoupling:
        """The k largest entries of every row.

        Args:
            k: How many, at most the number of columns.

        Returns:
            A plan of k entries a row, whose weights are differentiable; which entries were chosen is not.

        Raises:
            InputError: If k is out of range.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> DenseCoupling(torch.tensor([[0.1, 0.4], [0.3, 0.2]])).top_k(1).dense()
            tensor([[0.0000, 0.4000],
                    [0.3000, 0.0000]])
        """
        from .sparse import SparseCoupling

        *batch, n, m = self._shape()
        _validate.count("k", k, low=1, high=m)
        w, j = self._top_k(k)
        i = torch.arange(n, device=self.device)[:, None].expand(*batch, n, k)
        flat = (part.expand(*batch, n, k).reshape(*batch, n * k) for part in (i, j, w))
        i, j, w = flat
        return SparseCoupling._make(i=i, j=j, w=w.to(self.dtype), n=n, m=m)

    @final
    @transformable
    def sparse(self, *, mass: float | None = None, threshold: float | None = None) -> SparseCoupling:
        """The large entries as a list: as few as hold a share of the mass, or all above a threshold.

        The entries are found in a few streamed passes, whatever the size of the plan.

        Args:
            mass: The share of the total mass to keep, in (0, 1]; 0.99 if neither argument is given.
            threshold: Keep every P_ij > threshold instead.

        Returns:
            The entries in row-major order, with differentiable weights; which entries were chosen is not. In a
            batch, shorter lists are padded with entries of weight zero.

        Raises:
            InputError: If both arguments are given, or one is out of range.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> P = DenseCoupling(torch.tensor([[0.5, 0.01], [0.09, 0.4]])).sparse(mass=0.9)
            >>> P.i, P.j, P.w
            (tensor([0, 1]), tensor([0, 1]), tensor([0.5000, 0.4000]))
        """
        from ._sparsify import sparsify

        if mass is not None and threshold is not None:
            raise InputError(
                f"sparse takes mass or threshold, but both are given, mass={mass!r} and threshold={threshold!r}: "
                "leave one out."
            )
        if threshold is not None:
            _validate.number("threshold", threshold, low=0.0)
        mass = 0.99 if mass is None else mass
        _validate.number("mass", mass, low=0.0, high=1.0, strict=True)
        return sparsify(self, mass, threshold)

    # ------------------------------------------------------------------ plans from plans

    @final
    @transformable
    def round(self, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> SumCoupling:
        """A plan near this one whose marginals are exactly a and b.

        Rows and columns that hold too much are scaled down, and what is missing is added as a product
        (Altschuler, Weed and Rigollet, "Near-linear time approximation algorithms for optimal transport via
        Sinkhorn iteration", arXiv:1705.09634). The L1 distance to this plan is at most twice the error of its
        marginals. The answer stays lazy.

        Args:
            a: The row marginal.
            b: The column marginal, of the same mass.

        Returns:
            The scaled plan plus a product.

        Raises:
            InfeasibleError: If the masses differ.
            InputError: If a weight is negative.
            ShapeError, DtypeError, DeviceError: If weights and plan do not fit together.

        Example:
            >>> import torch
            >>> from monge.coupling import DenseCoupling
            >>> half = torch.tensor([0.5, 0.5])
            >>> DenseCoupling(torch.tensor([[0.6, 0.0], [0.1, 0.3]])).round(half, half).marginals()
            (tensor([0.5000, 0.5000]), tensor([0.5000, 0.5000]))
        """
        from .product import ProductCoupling
        from .sum import SumCoupling

        _validate.weights(self, a, b)
        _validate.equal_mass(a, b)
        s = _at_most_one(a, self._row_sums())
        t = _at_most_one(b, self._transpose()._matmul(s[..., None])[..., 0])
        scaled = self._scale(s, t)
        row, col = scaled._marginals()
        row, col = (a - row).clamp_min(0), (b - col).clamp_min(0)
        return SumCoupling._make(terms=(scaled, ProductCoupling._make(a=row, b=col, total=row.sum(-1))))

    @final
    @transformable
    def then(self, Q: Coupling, *, tol: float = 1e-3) -> GluedCoupling:
        """The plan that goes through the points in the middle: P diag(1/mu) Q.

        The gluing of two plans that share the marginal mu, the most independent one; a source point moves on
        from the middle as the mass there does.

        Args:
            Q: A plan from the target points of this one.
            tol: How far the two marginals in the middle may differ, in L1 relative to mass.

        Returns:
            A plan from the sources of this one to the targets of Q, lazy.

        Raises:
            ShapeError: If the two plans do not share the points in the middle.
            InputError: If the marginals there differ.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> shift = PermutationCoupling(torch.tensor([1, 2, 0]))
            >>> shift.then(shift).pair()
            (tensor([0, 1, 2]), tensor([2, 0, 1]))
        """
        from .glued import GluedCoupling

        glued = GluedCoupling(self, Q)
        _validate.shared_marginal(self._transpose()._row_sums(), glued.mu, tol)
        return glued


def _at_most_one(wanted: Tensor, held: Tensor) -> Tensor:
    """min(1, wanted / held), one where nothing is held."""
    return fraction(wanted, held).masked_fill(held == 0, 1).clamp_max(1)
