"""Couplers by expected sliced plans."""

from __future__ import annotations

from torch import Tensor

from monge._checks import check_number
from monge.coupling import Coupling, DenseCoupling

from ..functional._heads import Heads
from ..functional.slices import sliced_plan, sliced_read, soft_plan, soft_sliced_read
from ._coupler import Coupler, Promise

__all__ = ["ExpectedSlices", "SoftSlices"]


class ExpectedSlices(Coupler):
    """A mixture of the permutations that sort queries and keys along each coordinate, weighted by their costs.

    It is exactly doubly stochastic. Gradients reach queries and keys through the costs of the slices only.

    Args:
        inverse_temperature: τ of the weights; zero is the plain mean, infinity the cheapest slice.
        scale: $s$, $d^{-1/2}$ if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="expected-slices")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Shahbazi, Akbari, Salehi, Liu, NaderiAlizadeh, Kolouri, ESPFormer: Doubly-stochastic attention with expected
    sliced transport plans, arXiv 2502.07962; the linear-time form is this library's.
    """

    name = "expected-slices"
    jumps = True
    promise = Promise.of_both(
        time="n d (log n + d)",
        memory="n d",
        gradient="exact almost everywhere; permutations are constant",
        source="arXiv 2502.07962",
    )

    def __init__(self, inverse_temperature: float = 10.0, scale: float | None = None) -> None:
        super().__init__()
        check_number("inverse_temperature", inverse_temperature, low=0.0, infinity=True)
        self.inverse_temperature, self.scale = inverse_temperature, scale

    def _couple(self, heads: Heads) -> Coupling:
        return sliced_plan(heads, self.inverse_temperature, self.scale)

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return sliced_read(heads, v, self.inverse_temperature, self.scale)


class SoftSlices(Coupler):
    """`ExpectedSlices` with soft sorting: it has a gradient through the order, but columns sum to one only nearly.

    Rows are normalised when values are averaged; the coupling itself has the marginals that soft sorting gives it,
    which are measured, not promised.

    Args:
        inverse_temperature: τ of the weights.
        softness: t of the soft sorting; towards zero it becomes `ExpectedSlices`.
        scale: $s$, $d^{-1/2}$ if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="soft-slices")
        >>> x = torch.randn(3, 10, 16)
        >>> attention(x)[0].shape
        torch.Size([3, 10, 16])

    Source: Shahbazi, Akbari, Salehi, Liu, NaderiAlizadeh, Kolouri, ESPFormer: Doubly-stochastic attention with expected
    sliced transport plans, arXiv 2502.07962.
    """

    name = "soft-slices"
    jumps = True
    promise = Promise(
        rows=None,
        columns=None,
        exactness="rows and columns approximate, exact as softness → 0",
        time="n³ d",
        memory="n²",
        source="arXiv 2502.07962",
    )

    def __init__(self, inverse_temperature: float = 10.0, softness: float = 1e-3, scale: float | None = None) -> None:
        super().__init__()
        check_number("inverse_temperature", inverse_temperature, low=0.0)
        check_number("softness", softness, low=0.0, strict=True)
        self.inverse_temperature, self.softness, self.scale = inverse_temperature, softness, scale

    def _couple(self, heads: Heads) -> Coupling:
        return DenseCoupling._make(matrix=soft_plan(heads, self.inverse_temperature, self.softness, self.scale))

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return soft_sliced_read(heads, v, self.inverse_temperature, self.softness, self.scale)
