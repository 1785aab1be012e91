"""Plans of low rank."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from monge._arrays import take
from monge._checks import check_batches, check_floating, check_same
from monge._value import value
from monge.errors import ShapeError

from . import _validate
from ._numbers import fraction
from .base import Coupling, Rows

__all__ = ["FactoredCoupling"]


@value
class FactoredCoupling(Coupling):
    r"""The plan $Q\,\mathrm{diag}(1/g)\,R^T$, which goes through r pivots of mass g.

    If $Q^T 1 = R^T 1 = g$ then Q and R are plans to and from the pivots, and the marginals are $Q 1$ and $R 1$.
    A pivot with g = 0 is absent.

    Args:
        Q: Masses from source points to pivots.
        R: Masses from target points to pivots.
        g: Masses of the pivots.

    Raises:
        InputError: If a mass is negative or not finite.
        ShapeError, DtypeError, DeviceError: If the factors do not fit together.

    Example:
        >>> import torch
        >>> from monge.coupling import FactoredCoupling
        >>> Q, R = torch.tensor([[0.5], [0.5]]), torch.tensor([[0.2], [0.8]])
        >>> FactoredCoupling(Q, R, torch.ones(1)).dense()
        tensor([[0.1000, 0.4000],
                [0.1000, 0.4000]])
    """

    Q: Float[Tensor, "*b n r"]
    R: Float[Tensor, "*b m r"]
    g: Float[Tensor, "*b r"]
    _sides = (("Q", "R"),)
    _tells_mass = True

    def __post_init__(self) -> None:
        for name, core in self._core.items():
            tensor = getattr(self, name)
            check_floating(name, tensor)
            if tensor.ndim < core or 0 in tensor.shape[tensor.ndim - core :]:
                raise ShapeError(
                    f"{name} must have {core} dimensions after those of the batch, none of them empty, but has shape "
                    f"{tuple(tensor.shape)}."
                )
        if not self.Q.shape[-1] == self.R.shape[-1] == self.g.shape[-1]:
            raise ShapeError(
                f"Q (*b, n, r), R (*b, m, r) and g (*b, r) must share r, but have shapes {tuple(self.Q.shape)}, "
                f"{tuple(self.R.shape)} and {tuple(self.g.shape)}."
            )
        check_same(Q=self.Q, R=self.R, g=self.g)
        _validate.masses(Q=self.Q, R=self.R, g=self.g)
        check_batches(**self._batches())

    def _told(self) -> tuple[str, ...]:
        return (f"rank={self.g.shape[-1]}",)

    def _matmul(self, v: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b n k"]:
        return self.Q @ fraction(self.R.mT @ v, self.g[..., None])

    def _block(self, rows: Rows) -> Float[Tensor, "*b k m"]:
        block = fraction(self.Q[..., rows, :], self.g[..., None, :]) @ self.R.mT
        return block.expand(*self._shape()[:-2], *block.shape[-2:])

    def _row_sums(self) -> Float[Tensor, "*b n"]:
        return (self.Q @ fraction(self.R.sum(-2), self.g)[..., None])[..., 0]

    def _at(self, i: Int[Tensor, "*b k"], j: Int[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        return fraction(take(self.Q, i) * take(self.R, j), self.g[..., None, :]).sum(-1)

    def _scale(self, row: Float[Tensor, "*b n"], col: Float[Tensor, "*b m"]) -> FactoredCoupling:
        return self._make(Q=self.Q * row[..., None], R=self.R * col[..., None], g=self.g)
