"""Plans from plans: transposed, picked from a batch, shortened, rounded, glued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import explicit
from monge._checks import check_count, check_number
from monge._transforms import transformable
from monge._value import value
from monge.errors import InputError

from . import _validate
from ._hooks import Representation, plans
from ._numbers import dust, fraction

if TYPE_CHECKING:
    from .base import Coupling
    from .glued import GluedCoupling
    from .sparse import SparseCoupling
    from .sum import SumCoupling


@value
class Algebra(Representation):
    """The operations whose answer is a plan again. All but gluing keep the cost that the plan was made for."""

    @property
    @final
    def T(self) -> Coupling:  # noqa: N802 - the mathematics says T
        """The same plan, read from the other side."""
        turned: Any = self._transpose()
        return turned._priced(None if self.geometry is None else self.geometry.T)

    @final
    def __getitem__(self, index: int | slice | Tensor | tuple[Any, ...]) -> Coupling:
        """Some problems of a batch: the index is that of a tensor of shape ``batch_shape``.

        Raises:
            InputError: If there is no batch or no such problem.

        Example:
            >>> import torch
            >>> from monge.coupling import PermutationCoupling
            >>> PermutationCoupling(torch.tensor([[0, 1], [1, 0]]))[1].perm
            tensor([1, 0])
        """
        batch = torch.Size(self._shape()[:-2])
        try:
            index = explicit(index, batch)
            cost = None if self.geometry is None else self.geometry._select(index, batch)
            picked: Any = self._select(index, batch)
            return picked._priced(cost)
        except (IndexError, TypeError) as error:
            raise InputError(
                f"{index!r} is no valid index for a batch of shape {tuple(batch)}: for rows of the plan use P.rows(i)."
            ) from error

    @final
    @transformable
    def top_k(self, k: int) -> SparseCoupling:
        """The k largest entries of every row; what is nothing but the rounding of the plan's mass counts as zero.

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
        *batch, n, m = self._shape()
        check_count("k", k, high=m)
        w, j = self._top_k(k)
        w = w.masked_fill((w > 0) & (w <= dust(w.detach().sum((-1, -2)), n * m, self.dtype)[..., None, None]), 0)
        i = torch.arange(n, device=self.device)[:, None].expand(*batch, n, k)
        i, j, w = (part.expand(*batch, n, k).reshape(*batch, n * k) for part in (i, j, w))
        return plans().SparseCoupling._make(i=i, j=j, w=w.to(self.dtype), n=n, m=m, geometry=self.geometry)

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
        if mass is not None and threshold is not None:
            raise InputError(
                f"sparse takes mass or threshold, but both are given, mass={mass!r} and threshold={threshold!r}: "
                "leave one out."
            )
        if threshold is not None:
            check_number("threshold", threshold, low=0.0)
        mass = 0.99 if mass is None else mass
        check_number("mass", mass, low=0.0, high=1.0, strict=True)
        return plans().sparsify(self, mass, threshold)._priced(self.geometry)

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
        _validate.weights(self, a, b)
        _validate.equal_mass(a, b)
        s = _at_most_one(a, self._row_sums())
        t = _at_most_one(b, self._transpose()._matmul(s[..., None])[..., 0])
        scaled = self._scale(s, t)
        row, col = scaled._marginals()
        row, col = (a - row).clamp_min(0), (b - col).clamp_min(0)
        rest = plans().ProductCoupling._make(a=row, b=col, total=row.sum(-1))
        return plans().SumCoupling._make(terms=(scaled, rest), geometry=self.geometry)

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
        glued = plans().GluedCoupling(self, Q)
        _validate.shared_marginal(self._transpose()._row_sums(), glued.mu, tol)
        return glued


def _at_most_one(wanted: Tensor, held: Tensor) -> Tensor:
    """min(1, wanted / held), one where nothing is held."""
    return fraction(wanted, held).masked_fill(held == 0, 1).clamp_max(1)
