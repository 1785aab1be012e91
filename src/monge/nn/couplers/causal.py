"""Causal balanced attention."""

from __future__ import annotations

from torch import Tensor

from monge.coupling import Coupling

from ..functional._heads import Heads
from ..functional._padding import uniform
from ..functional.causal import prefix_factors, prefix_read
from ._coupler import Promise
from ._prefix_coupling import PrefixCoupling
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
    one_sequence = True
    promise = Promise.of_rows(
        "balanced over the past only", time="n r d", memory="n r", causal="always", square=True, source="this library"
    )

    def _couple(self, heads: Heads) -> Coupling:
        left, right = prefix_factors(heads, self._pivoting())
        return PrefixCoupling._make(Q=left * uniform(left, heads.key_padding)[..., None], R=right)

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return prefix_read(heads, v, self._pivoting())
