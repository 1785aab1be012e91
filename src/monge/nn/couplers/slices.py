"""Couplers by expected sliced plans."""

from __future__ import annotations

from torch import Tensor

from ..._checks import check_number
from ...coupling import Coupling, DenseCoupling, MixtureCoupling, MonotoneCoupling, PermutationCoupling
from ..functional._padding import at_least_single, full_precision, scale_of
from ..functional.slices import (
    match_slices,
    slice_weights,
    sliced_attention,
    soft_sliced_attention,
    soft_sliced_plan,
)
from ._base import Coupler, Promise, drop_keys

__all__ = ["ExpectedSlices", "SoftSlices"]


class ExpectedSlices(Coupler):
    """A mixture of the permutations that sort queries and keys along each coordinate, weighted by their costs.

    Exactly doubly stochastic, with gradients to queries and keys through the costs of the slices only.

    Args:
        inverse_temperature: τ of the weights; zero is the plain mean, infinity the cheapest slice.
        scale: s, d^{-1/2} if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="expected-slices")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "expected-slices"
    jumps = True
    promise = Promise(
        rows=1e-5,
        columns=1e-5,
        exactness="rows and columns exact",
        time="n d (log n + d)",
        memory="n d",
        causal="no",
        pairs=False,
        square=False,
        gradient="exact almost everywhere; permutations are constant",
        source="arXiv 2502.07962",
    )

    def __init__(self, inverse_temperature: float = 10.0, scale: float | None = None) -> None:
        super().__init__()
        check_number("inverse_temperature", inverse_temperature, low=0.0, infinity=True)
        self.inverse_temperature, self.scale = inverse_temperature, scale

    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        q, k = at_least_single(q, k)
        with full_precision(q):
            s = scale_of(q, self.scale)
            matches = match_slices(q, k, query_padding, key_padding)
            weights = slice_weights(q * s, k * s, matches, self.inverse_temperature)
            i, j, w = matches.i, matches.j, matches.w[..., None, :].expand(matches.j.shape)
            if i is None:
                component: Coupling = PermutationCoupling._make(perm=j, weights=w)
            else:
                component = MonotoneCoupling._make(i=i, j=j, w=w, n=q.shape[-2], m=k.shape[-2])
            return MixtureCoupling._make(component=component, weights=weights)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
        dropout: float,
    ) -> Tensor:
        return sliced_attention(
            q, k, drop_keys(v, dropout), inverse_temperature=self.inverse_temperature, scale=self.scale,
            query_padding=query_padding, key_padding=key_padding,
        )  # fmt: skip


class SoftSlices(Coupler):
    """`ExpectedSlices` with soft sorting: gradients reach the order of the tokens, column sums are only near one.

    Rows are normalised when values are averaged; the coupling itself has the marginals that soft sorting gives it,
    which are measured, not promised.

    Args:
        inverse_temperature: τ of the weights.
        softness: t of the soft sorting; towards zero it becomes `ExpectedSlices`.
        scale: s, d^{-1/2} if None.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="soft-slices")
        >>> x = torch.randn(3, 10, 16)
        >>> attention(x)[0].shape
        torch.Size([3, 10, 16])
    """

    name = "soft-slices"
    jumps = True
    promise = Promise(
        rows=None,
        columns=None,
        exactness="rows and columns approximate, exact as softness → 0",
        time="n³ d",
        memory="n²",
        causal="no",
        pairs=False,
        square=False,
        gradient="exact",
        source="arXiv 2502.07962",
    )

    def __init__(self, inverse_temperature: float = 10.0, softness: float = 1e-3, scale: float | None = None) -> None:
        super().__init__()
        check_number("inverse_temperature", inverse_temperature, low=0.0)
        check_number("softness", softness, low=0.0, strict=True)
        self.inverse_temperature, self.softness, self.scale = inverse_temperature, softness, scale

    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        return DenseCoupling._make(matrix=soft_sliced_plan(q, k, **self._options(query_padding, key_padding)))

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
        dropout: float,
    ) -> Tensor:
        return soft_sliced_attention(q, k, drop_keys(v, dropout), **self._options(query_padding, key_padding))

    def _options(self, query_padding: Tensor | None, key_padding: Tensor | None) -> dict:
        return {
            "inverse_temperature": self.inverse_temperature,
            "softness": self.softness,
            "scale": self.scale,
            "query_padding": query_padding,
            "key_padding": key_padding,
        }
