"""The base class of couplings: a transport plan, and all questions that it answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import broadcast_shapes, working_dtype
from monge._checks import check_count, chosen_rows
from monge._transforms import transformable
from monge._users_arrays import takes_arrays
from monge._value import value
from monge.errors import DenseLimitError, InfeasibleError, InputError
from monge.geometry import Geometry

from . import _stream, _validate
from ._algebra import Algebra
from ._hooks import Entries, Rows, plans
from ._numbers import draw, dust, positive_log

__all__ = ["Coupling", "Entries", "Rows"]


class Measured(Protocol):
    """The one method of a problem that a plan uses; every `monge.problem.Problem` has it."""

    def gap(self, P: Coupling) -> Tensor:
        """The objective at a plan less a lower bound of all objectives."""
        ...


@value
class Coupling(Algebra):
    """A transport plan P of shape (*b, n, m): a linear operator with marginals.

    P_ij >= 0 is the mass that moves from source point i to target point j. A representation writes `_shape`,
    `_transpose`, `_matmul` and `_block`. Every question below is then answered block by block, without an n x m
    matrix, and the answer is differentiable by the tensors of the representation. If a representation has a shorter
    way to an answer, it overrides the private method behind the question.

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

    # ------------------------------------------------------------------ shape and mass

    @property
    @final
    def shape(self) -> torch.Size:
        """(*b, n, m): batch dimensions, source points, target points."""
        return torch.Size(self._shape())

    @property
    @final
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return torch.Size(self._shape()[:-2])

    @property
    @final
    def mass(self) -> Float[Tensor, "*b"]:
        """The sum of all entries, per problem."""
        return self._row_sums().expand(self._shape()[:-1]).sum(-1)

    def __repr__(self) -> str:
        """Class, shape and dtype, and the mass where it is cheap."""
        told = [f"shape={tuple(self._shape())}", str(self.dtype).removeprefix("torch."), *self._told()]
        mass = self._row_sums().sum(-1) if self._tells_mass and self.device.type == "cpu" else None
        if mass is not None and mass.numel() == 1:
            told.append(f"mass={mass.item():.4g}")
        return f"{type(self).__name__}({', '.join(told)})"

    # ------------------------------------------------------------------ entries

    @final
    @transformable
    def rows(self, index: int | slice | Sequence[int] | Int[Tensor, " k"]) -> Float[Tensor, "*b k m"]:
        """Some rows of the plan, dense.

        Args:
            index: A row (k = 1), a slice, or a list of rows; negative rows count from the end.

        Returns:
            The entries of those rows.

        Raises:
            InputError: If a row does not exist.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0])).rows(0)
            tensor([[0.0000, 0.5000]])
        """
        return self._block(chosen_rows(index, self._shape()[-2], self.device))

    @final
    def blocks(self, *, max_bytes: int = 2**26) -> Iterator[tuple[slice, Float[Tensor, "*b k m"]]]:
        """The rows of the plan from first to last, in dense blocks.

        Args:
            max_bytes: The size of a block.

        Returns:
            An iterator over pairs: the rows of a block, as a slice, and their entries.

        Raises:
            InputError: If ``max_bytes`` is not positive.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> P = PermutationCoupling(torch.arange(4))
            >>> [tuple(block.shape) for _, block in P.blocks(max_bytes=32)]
            [(2, 4), (2, 4)]
        """
        check_count("max_bytes", max_bytes)
        slices = _stream.row_blocks(self, max_bytes=max_bytes)
        return ((rows, self._block(rows)) for rows in slices)

    @final
    @transformable
    def dense(self, max_bytes: int = 2**30) -> Float[Tensor, "*b n m"]:
        """The whole matrix.

        Args:
            max_bytes: The largest matrix that is allowed.

        Returns:
            P.

        Raises:
            DenseLimitError: If the matrix would be larger.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([1, 0])).dense()
            tensor([[0.0000, 0.5000],
                    [0.5000, 0.0000]])
        """
        shape = self.shape
        size = math.prod(shape) * self.dtype.itemsize
        if size > max_bytes:
            raise DenseLimitError(
                f"The dense plan of shape {tuple(shape)} takes {size:,} bytes, more than max_bytes={max_bytes:,}: "
                "apply it with P @ v, read it with P.rows(i) or P.blocks(), shorten it with P.sparse(), or raise "
                "max_bytes."
            )
        return _stream.dense(self)

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
        r"""The mean of the values by each row of the plan, $\sum_j P_{ij} v_j / \sum_j P_{ij}$: E[v | i].

        It takes one pass, block by block. If the values are the target points, this is the barycentric map; if they
        are the values of an attention layer, it is the output of attention.

        Args:
            v: Values of the target points: (m,) for one number per point, otherwise (*b, m, k).

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

    @final
    @takes_arrays
    def map(self, points: Float[Tensor, "..."], *, method: str | None = None) -> Float[Tensor, "..."]:
        """Where points go that the plan has not seen; short for ``TransportMap(P, method)(points)``.

        `TransportMap` explains the three methods. The other direction is ``P.T.map(points)``.

        Args:
            points: New points, in the form of the source points of the plan's cost: (*b, k, d), or numbers (*b, k) for
                a `Line` and a `Circle`.
            method: "barycentric", "nearest" or "brenier"; by default "barycentric" for an entropic plan, and "nearest"
                for all others.

        Returns:
            The same number of points, in the space of the target.

        Raises:
            InputError, CapabilityError: If the plan knows no cost between points, or lacks what the method needs.
            ShapeError, DtypeError, DeviceError: If points and plan do not fit together.

        Example:
            >>> import torch
            >>> import monge
            >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
            >>> monge.couple(x, 2 * x).map(torch.tensor([[1.0, 0.1]]))
            tensor([[2.0000, 0.1000]])
        """
        return plans().TransportMap(self, method)(points)

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

        A forbidden pair without mass costs nothing; any mass on it has an infinite cost.

        Args:
            geometry: The costs; None takes the costs that a solver made the plan for.

        Returns:
            One number per problem, differentiable in the plan and in the costs.

        Raises:
            InputError: If no geometry is given to a plan that was made for none.
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
            geometry = self.geometry
            if geometry is None:
                raise InputError(
                    f"geometry must be given, since this {type(self).__name__} was not made for a cost: "
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
            One number per problem, in nats. Its derivative at an entry of zero is defined as zero.

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
        row, col = row.to(working_dtype(row)), col.to(working_dtype(col))
        expected = (row * positive_log(a)).sum(-1) + (col * positive_log(b)).sum(-1)
        outside = ((row > 0) & (a == 0)).any(-1) | ((col > 0) & (b == 0)).any(-1)
        value = self._entropy().neg() - expected - row.sum(-1) + a.sum(-1) * b.sum(-1)
        return value.masked_fill(outside, math.inf).to(self.dtype)

    @final
    @transformable
    def gap(self, problem: Measured) -> Float[Tensor, "*b"]:
        """How far the plan can be from the optimum of a problem: its objective less the dual bound.

        Args:
            problem: A problem of the same shape.

        Returns:
            One number per problem, zero at the solution.

        Raises:
            InputError: If the plan has no potentials: then use ``problem.gap(P, f, g)``.
        """
        return problem.gap(self)

    # ------------------------------------------------------------------ partners

    @final
    @transformable
    @torch.no_grad()
    def pair(self, *, generator: torch.Generator | None = None) -> tuple[Int[Tensor, "*b n"], Int[Tensor, "*b n"]]:
        """One target point for every source point, drawn from its row; for a permutation, the bijection itself.

        Every row is used exactly once, unlike in `sample`. Rows without mass have no partner and are left out; this
        works only for a plan without batch dimensions. Mass that is only a rounding error counts as none.

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
        row = self._row_sums().expand(*batch, n)
        present = row > dust(row.sum(-1, keepdim=True), n, self.dtype)
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
        check_count("k", k, low=0)
        *batch, n, _ = self._shape()
        row = self._row_sums().expand(*batch, n)
        if not bool((row.sum(-1) > 0).all()):
            raise InfeasibleError(
                "sample needs a plan with mass, but this plan has none: use a plan with positive entries."
            )
        i = draw(row, self._uniform((*batch, k), generator))
        return i, self._sample_rows(i, self._uniform((*batch, k), generator))

    def _uniform(self, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
        return torch.rand(shape, dtype=torch.float64, device=self.device, generator=generator)

    @final
    @transformable
    @torch.no_grad()
    def assignment(self) -> Int[Tensor, "*b n"]:
        r"""The bijection that keeps the most mass of the plan, $\max_\sigma \sum_i P_{i\sigma(i)}$.

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
