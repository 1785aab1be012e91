"""Causal balanced attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...coupling import Coupling
from ...errors import CapabilityError
from ..functional._padding import uniform
from ..functional.causal import prefix_pivot_attention, prefix_pivot_factors
from ._base import Promise, drop_keys
from ._prefix import PrefixCoupling
from .pivots import LearnedPivots

__all__ = ["CausalPivots"]


class CausalPivots(LearnedPivots):
    """Every position reads pivots that hold weighted means of its past; always causal, rows exact, linear time.

    Strict double stochasticity is impossible here, since a lower-triangular matrix with unit row and column sums is
    the identity; the column mass aims at that of uniform causal attention,
    `monge.nn.functional.harmonic_mass`, and `monge.nn.diagnostics.causal_balance` measures how far it is.

    Args:
        heads: Heads of the attention.
        width: Width of a head.
        pivots: r, number of pivots per head.
        options: ``epsilon``, ``learn_epsilon``, ``learn_mass``, ``temperature``, ``scale`` as in
            `monge.nn.couplers.Pivots`.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="causal-pivots")
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "causal-pivots"
    promise = Promise(
        rows=1e-5,
        columns=None,
        exactness="rows exact, columns balanced over the past only",
        time="n r d",
        memory="n r",
        causal="always",
        pairs=False,
        square=True,
        gradient="exact",
        source="this library",
    )

    def _couple(
        self,
        q: Tensor,
        k: Tensor,
        query_padding: Tensor | None,
        key_padding: Tensor | None,
        pairs: Tensor | None,
        causal: bool,
    ) -> Coupling:
        options = self._options(query_padding, key_padding)
        left, right = prefix_pivot_factors(q, k, self.locations, **options)
        return PrefixCoupling._make(Q=left * uniform(left, query_padding)[..., None], R=right, backward=False)

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
        options = self._options(query_padding, key_padding)
        return prefix_pivot_attention(q, k, drop_keys(v, dropout), self.locations, **options)

    def _options(self, query_padding: Tensor | None, key_padding: Tensor | None) -> dict[str, Any]:
        if query_padding is not key_padding:
            raise CapabilityError(
                "CausalPivots reads one sequence: pass key_padding_mask alone, it is that of the queries too."
            )
        return {"log_mass": self.mass.log(), "scale": self.scale, "epsilon": self.epsilon, "padding": key_padding}
