"""What a coupling is: a transport plan, known through the questions it answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from monge._checks import check_floating, check_number, check_same, check_weights
from monge._value import Value
from monge.errors import DenseLimitError, DeviceError, DtypeError, InfeasibleError, InputError, ShapeError

from . import _questions as questions

if TYPE_CHECKING:
    from monge.geometry import Geometry
    from monge.problem import Linear

    from .glued import GluedCoupling
    from .sparse import SparseCoupling
    from .sum import SumCoupling

__all__ = ["Coupling", "Entries", "Rows"]

Rows = slice | Tensor
Entries = tuple[Tensor, Tensor, Tensor]


class Coupling(Value, ABC):
    """A transport plan P of shape (*b, n, m): non-negative, a linear operator with marginals.

    A representation writes four methods: `_shape`, `_transpose`, `_matmul` and `_block`. Everything else is inherited,
    and may be overridden where a representation knows a faster way. Inputs are validated here, once; the private
    methods may trust them. Nothing is cached: a coupling is a value.

    Example:
        >>> import torch
        >>> from monge.coupling import DenseCoupling
        >>> P = DenseCoupling(torch.tensor([[0.5, 0.0], [0.25, 0.25]]))
        >>> P @ torch.tensor([1.0, 2.0])
        tensor([0.5000, 0.7500])
        >>> P.barycentric(torch.tensor([[1.0], [2.0]]))
        tensor([[1.0000],
                [1.5000]])
    """

    # How many dimensions of each tensor are not batch dimensions, for indexing; nested values look after themselves.
    _core: ClassVar[dict[str, int]] = {}

    # ------------------------------------------------------------------ what a representation writes

    @abstractmethod
    def _shape(self) -> tuple[int, ...]:
        """(*b, n, m)."""

    @abstractmethod
    def _transpose(self) -> Coupling:
        """The plan from targets to sources."""

    @abstractmethod
    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """P v."""

    @abstractmethod
    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        """Some rows, dense."""

    # ------------------------------------------------------------------ what it may write, for speed

    def _marginals(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        *_, n, m = self._shape()
        ones = torch.ones(max(n, m), 1, dtype=self.dtype, device=self.device)
        return self._matmul(ones[:m])[..., 0], self._transpose()._matmul(ones[:n])[..., 0]

    def _average(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """The mean of v under each row; zero for a row without mass."""
        both = self._matmul(torch.cat([v, torch.ones_like(v[..., :1])], -1))
        total = both[..., -1:]
        return torch.where(total > 0, both[..., :-1] / torch.where(total > 0, total, 1), 0)

    def _entries(self) -> Entries | None:
        """All entries as (i, j, w), each (*b, k), where they are few; w = 0 is padding."""
        return None

    def _inner(self, geometry: Geometry) -> Float[Tensor, "*b"]:
        return questions.inner(self, geometry)

    def _entropy(self) -> Float[Tensor, "*b"]:
        return questions.entropy(self)

    def _top_k(self, k: int) -> tuple[Int[Tensor, "*b n k"], Float[Tensor, "*b n k"]]:
        return questions.top_k(self, k)

    def _sample_rows(self, rows: Int[Tensor, " k"], generator: torch.Generator | None) -> Int[Tensor, "*b k"]:
        """One column for each row, drawn from the row's distribution."""
        return questions.sample_rows(self, rows, generator)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> Coupling:
        """diag(row) P diag(col)."""
        return questions.scale(self, row, col)

    def _own_geometry(self) -> Geometry | None:
        return None

    # ------------------------------------------------------------------ shape

    @property
    def shape(self) -> torch.Size:
        """(*b, n, m): the batch, the sources, the targets."""
        return torch.Size(self._shape())

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions."""
        return self.shape[:-2]

    @property
    def T(self) -> Coupling:  # noqa: N802
        """The plan from targets to sources: the axis flag of every other question."""
        return self._transpose()

    @property
    def mass(self) -> Float[Tensor, "*b"]:
        """The total mass that is moved."""
        return self._marginals()[0].sum(-1)

    def __repr__(self) -> str:
        """Class, shape and dtype: enough to know it by."""
        return f"{type(self).__name__}(shape={tuple(self.shape)}, dtype={str(self.dtype).removeprefix('torch.')})"

    # ------------------------------------------------------------------ operator

    @final
    def __matmul__(self, v: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """P v, streamed; as ``torch.matmul``: one dimension is a vector, otherwise (*b, m, k).

        Raises:
            ShapeError, DtypeError, DeviceError: If v does not fit.
        """
        vector = isinstance(v, Tensor) and v.ndim == 1
        values = self._values("v", v[:, None] if vector else v)
        out = self._matmul(values)
        return out[..., 0] if vector else out

    @final
    def marginals(self) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b m"]]:
        """The row sums P 1 and column sums P^T 1 that the plan really has."""
        return self._marginals()

    @final
    def barycentric(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        """The conditional mean E[v | i] = (P v)_i / (P 1)_i, in one pass; attention is this.

        Args:
            v: Values at the targets.

        Returns:
            One mean per source; zero where a source has no mass.

        Raises:
            ShapeError, DtypeError, DeviceError: If v does not fit.
        """
        return self._average(self._values("v", v))

    # ------------------------------------------------------------------ numbers

    @final
    def transport_cost(self, geometry: Geometry | None = None) -> Float[Tensor, "*b"]:
        """<P, C>, without a matrix.

        Args:
            geometry: The cost; None takes the one that the plan was computed from.

        Raises:
            InputError: If no geometry is given and the plan carries none.
            ShapeError: If the geometry has another shape.
        """
        geometry = self._own_geometry() if geometry is None else geometry
        if geometry is None:
            raise InputError(
                f"geometry must be given: a {type(self).__name__} does not know its cost. "
                "Write P.transport_cost(PointCloud(x, y))."
            )
        if tuple(geometry.shape) != tuple(self.shape[-2:]):
            raise ShapeError(f"geometry has shape {tuple(geometry.shape)}, but the plan {tuple(self.shape[-2:])}.")
        return self._inner(geometry)

    @final
    def entropy(self) -> Float[Tensor, "*b"]:
        """-sum_ij P_ij log P_ij, with 0 log 0 = 0."""
        return self._entropy()

    @final
    def kl(self, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """KL(P | a⊗b) = sum P log(P / (a⊗b)) - P + a⊗b; +inf if P has mass where a⊗b has none."""
        row, col = self._marginals()
        self._weights(a=a, b=b)
        cross = torch.special.xlogy(row, a).sum(-1) + torch.special.xlogy(col, b).sum(-1)
        return -self._entropy() - cross - row.sum(-1) + a.sum(-1) * b.sum(-1)

    @final
    def gap(self, problem: Linear) -> Float[Tensor, "*b"]:
        """How far the plan can be from optimal for the problem: objective less dual bound."""
        return problem.gap(self)

    # ------------------------------------------------------------------ choices

    @final
    def pair(self, *, generator: torch.Generator | None = None) -> tuple[Int[Tensor, "*b k"], Int[Tensor, "*b k"]]:
        """One partner for every row, drawn from the row's distribution; the bijection, if the plan is one.

        Unlike `sample`, no row is left out and none comes twice, which is what minibatch transport needs.

        Args:
            generator: Source of randomness.

        Returns:
            Sources i and targets j. Without a batch, rows without mass are left out.

        Raises:
            InputError: If a batch has a row without mass, which has no partner.
        """
        *batch, n, _ = self.shape
        present = self._marginals()[0] > 0
        if not batch:
            i = present.nonzero()[:, 0]
            return i, self._sample_rows(i, generator)
        if not bool(present.all()):
            raise InputError(
                f"Every row needs mass to be paired in a batch, but {int((~present).sum())} have none: "
                "pair the problems one by one, as in P[k].pair()."
            )
        i = torch.arange(n, device=self.device)
        return i.expand(*batch, n), self._sample_rows(i, generator)

    @final
    def sample(
        self, k: int, *, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, "*b k"], Int[Tensor, "*b k"]]:
        """Independent pairs (i, j), drawn with probabilities P_ij / mass.

        Args:
            k: How many.
            generator: Source of randomness.

        Raises:
            InfeasibleError: If the plan has no mass.
        """
        check_number("k", k, low=0)
        return questions.sample(self, k, generator)

    @final
    def assignment(self) -> Int[Tensor, "*b n"]:
        """The bijection sigma that maximises sum_i P[i, sigma(i)].

        Raises:
            ShapeError: If the plan is not square.
            DenseLimitError: If it is too large to be solved for.
        """
        if self.shape[-1] != self.shape[-2]:
            raise ShapeError(
                f"assignment() needs as many targets as sources, but the plan is {tuple(self.shape[-2:])}."
            )
        return questions.assignment(self)

    @final
    def top_k(self, k: int) -> SparseCoupling:
        """The k largest entries of every row, as a coupling.

        Raises:
            InputError: If k is not between 1 and m.
        """
        from .sparse import SparseCoupling

        *_, n, m = self.shape
        check_number("k", k, low=1, high=m)
        j, w = self._top_k(k)
        i = torch.arange(n, device=self.device)[:, None].expand(j.shape)
        return SparseCoupling._make(i=i.flatten(-2), j=j.flatten(-2), w=w.flatten(-2), n=n, m=m)

    @final
    def sparse(self, *, mass: float | None = None, threshold: float | None = None) -> SparseCoupling:
        """The largest entries, as a coupling: those above a threshold, or the fewest that hold a share of the mass.

        Found in streamed passes; nothing larger than the answer is built. Unbatched plans only.

        Args:
            mass: Share of the total mass to keep, in (0, 1].
            threshold: Keep entries above this number.

        Raises:
            InputError: Unless just one of the two is given.
            ShapeError: If the plan is a batch.
        """
        if (mass is None) == (threshold is None):
            raise InputError(f"Give either mass or threshold, but got mass={mass} and threshold={threshold}.")
        if self.batch_shape:
            raise ShapeError(
                f"sparse() keeps different numbers of entries per problem, but the plan is a batch of shape "
                f"{tuple(self.batch_shape)}: index it first, as in P[0].sparse(...)."
            )
        if mass is not None:
            check_number("mass", mass, low=0.0, high=1.0, strict=True)
            return questions.sparse_by_mass(self, mass)
        check_number("threshold", threshold, low=0.0)
        return questions.sparse_by_threshold(self, float(threshold))  # type: ignore[arg-type]

    # ------------------------------------------------------------------ entries

    @final
    def rows(self, index: int | slice | Sequence[int] | Int[Tensor, " k"]) -> Float[Tensor, "*b k m"]:
        """Some rows, dense: a row (k = 1), a slice, or a list of rows.

        Raises:
            InputError: If a row does not exist.
        """
        n = self.shape[-2]
        if isinstance(index, slice):
            start, stop, step = index.indices(n)
            if step == 1:
                return self._block(slice(start, max(start, stop)))
            index = list(range(start, stop, step))
        wanted = torch.as_tensor(index, device=self.device).reshape(-1).long()
        if wanted.numel() and bool(((wanted < -n) | (wanted >= n)).any()):
            raise InputError(f"rows must lie between {-n} and {n - 1}, but are {wanted.tolist()[:8]}.")
        return self._block(wanted.remainder(n) if n else wanted)

    @final
    def blocks(self, max_bytes: int = 2**25) -> Iterator[tuple[slice, Float[Tensor, "*b k m"]]]:
        """All rows, block by block: pairs of a slice and its dense rows, each of at most ``max_bytes``.

        Args:
            max_bytes: The largest block, though never less than a row.
        """
        for rows in questions.row_slices(self, max_bytes):
            yield rows, self._block(rows)

    @final
    def dense(self, max_bytes: int = 2**30) -> Float[Tensor, "*b n m"]:
        """The whole matrix.

        Args:
            max_bytes: The largest matrix allowed, in bytes.

        Raises:
            DenseLimitError: If the matrix would be larger.
        """
        size = math.prod(self.shape) * torch.finfo(self.dtype).bits // 8
        if size > max_bytes:
            raise DenseLimitError(
                f"The dense plan of shape {tuple(self.shape)} takes {size:,} bytes, more than max_bytes={max_bytes:,}: "
                "use P @ v, rows(...), blocks(), top_k(k) or sparse(mass=0.99) instead, or raise max_bytes."
            )
        return self._block(slice(0, self.shape[-2]))

    # ------------------------------------------------------------------ couplings from couplings

    @final
    def round(self, a: Float[Tensor, "*b n"], b: Float[Tensor, "*b m"]) -> SumCoupling:
        """A plan with marginals exactly a and b, near this one, still lazy.

        Rows are scaled down to at most a, then columns to at most b, and what is missing is added as a product: the
        result is within 2 (|P1 - a| + |P^T 1 - b|) of P in L1.

        Args:
            a: Wanted row marginal.
            b: Wanted column marginal, of the same mass.

        Raises:
            InfeasibleError: If a and b have different masses.

        Source:
            Altschuler, Weed, Rigollet, Near-linear time approximation algorithms for optimal transport (arXiv
            1705.09634).
        """
        self._weights(a=a, b=b)
        mass_a, mass_b = a.sum(-1), b.sum(-1)
        if bool(((mass_a - mass_b).abs() > 100 * torch.finfo(a.dtype).eps * mass_a * max(a.shape[-1], 8)).any()):
            raise InfeasibleError(
                f"a and b must have equal mass to be marginals of one plan, but have {mass_a.tolist()} and "
                f"{mass_b.tolist()}: scale one of them."
            )
        return questions.rounded(self, a, b)

    @final
    def then(self, other: Coupling, *, tol: float = 1e-3) -> GluedCoupling:
        """Gluing: P diag(1/mu) Q, the plan that goes through the points between, mu being the marginal they share.

        Args:
            other: Q, from the points between to the targets.
            tol: How far the two middle marginals may differ, in L1 relative to mass.

        Raises:
            ShapeError: If the points between do not match.
            InputError: If their marginals do not.
        """
        from .glued import GluedCoupling

        if self.shape[-1] != other.shape[-2]:
            raise ShapeError(f"P ends in {self.shape[-1]} points, but Q starts from {other.shape[-2]}.")
        check_same(P=torch.empty(0, dtype=self.dtype), Q=torch.empty(0, dtype=other.dtype))
        mine, its = self._marginals()[1], other._marginals()[0]
        difference = (mine - its).abs().sum(-1) / mine.sum(-1).clamp_min(torch.finfo(mine.dtype).tiny)
        if bool((difference > tol).any()):
            raise InputError(
                f"The marginals to be glued must agree within tol={tol:g}, but differ by {float(difference.max()):.3g} "
                "of the mass: solve to a smaller tolerance, or round() the plans to a common marginal."
            )
        return GluedCoupling._make(P=self, Q=other, mu=mine)

    @final
    def __getitem__(self, index: Any) -> Coupling:
        """Some problems of a batch; rows are ``P.rows(...)``.

        Raises:
            InputError: If there is no batch or no such problem.
        """
        batch = self.batch_shape
        try:
            torch.empty(batch, device="meta")[index]
        except (IndexError, TypeError) as error:
            raise InputError(
                f"{index!r} picks no problem from a batch of shape {tuple(batch)}: rows of a plan are P.rows(...)."
            ) from error
        if not isinstance(index, tuple):
            index = (index,)
        if any(part is Ellipsis for part in index):  # spelled out: the tensors have dimensions behind the batch
            place = next(k for k, part in enumerate(index) if part is Ellipsis)
            used = sum(part is not None and part is not Ellipsis for part in index)
            index = (*index[:place], *(slice(None),) * (len(batch) - used), *index[place + 1 :])
        return self._select(index, batch)

    def _select(self, index: Any, batch: torch.Size) -> Coupling:
        """The problems ``index`` of ``batch``, to which every tensor is broadcast first."""
        chosen: dict[str, Any] = {}
        for name, held in self._contents().items():
            if isinstance(held, Tensor):
                core = self._core[name]
                chosen[name] = held.expand(*batch, *held.shape[held.ndim - core :])[index]
            elif isinstance(held, tuple):
                chosen[name] = tuple(part._select(index, batch) for part in held)
            else:
                chosen[name] = held._select(index, batch) if hasattr(held, "_select") else held
        return self._make(**chosen)

    # ------------------------------------------------------------------ checks

    def _values(self, name: str, v: Any) -> Tensor:
        check_floating(name, v)
        m = self.shape[-1]
        if v.ndim < 2 or v.shape[-2] != m:
            raise ShapeError(
                f"{name} must have shape (*batch, {m}, k), one row per target, but has {tuple(v.shape)}: "
                f"for the other side use P.T."
            )
        try:
            torch.broadcast_shapes(self.batch_shape, v.shape[:-2])
        except RuntimeError as error:
            raise ShapeError(
                f"{name} has batch dimensions {tuple(v.shape[:-2])}, but the plan {tuple(self.batch_shape)}: "
                "they must broadcast."
            ) from error
        if v.dtype != self.dtype:
            raise DtypeError(f"{name} is {v.dtype}, but the plan {self.dtype}: use {name}.to(P.dtype).")
        if v.device != self.device:
            raise DeviceError(f"{name} lives on {v.device}, but the plan on {self.device}: use {name}.to(P.device).")
        return v

    def _weights(self, **weights: Tensor) -> None:
        for (name, weight), n in zip(weights.items(), self.shape[-2:], strict=True):
            check_weights(name, weight, n)
            if weight.dtype != self.dtype or weight.device != self.device:
                raise DtypeError(
                    f"{name} is {weight.dtype} on {weight.device}, but the plan {self.dtype} on {self.device}: "
                    f"use {name}.to(P.device, P.dtype)."
                )
