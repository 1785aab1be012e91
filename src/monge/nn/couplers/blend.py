"""A gate between two couplers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from monge.coupling import Coupling, SumCoupling
from monge.errors import InputError

from ..functional._heads import Heads
from ._coupler import Coupler, Promise
from .registered import build

__all__ = ["Blend"]


class Blend(Coupler):
    r"""(1 - λ_h) first + λ_h second, one λ = sigmoid(g) per head.

    Rows sum to one for every λ, and the worst column deviates by at most (1 - λ) times that of the first coupler plus
    λ times that of the second. With λ near zero, a trained model hardly changes at first, and the second coupler can
    gain weight during training.

    Args:
        first: The coupler at λ = 0.
        second: The coupler at λ = 1.
        heads: Heads of the attention.
        gate: g at the start: -4 to convert a trained model from the first, 0 to train from scratch.

    Raises:
        InputError: A coupler does not promise its rows, so that the blend would not be a mean.

    Example:
        >>> from monge.nn.couplers import Blend, Pivots, Softmax
        >>> attention = monge.nn.Attention(16, 2, coupler=Blend(Softmax(), Pivots(2, 8), heads=2, gate=-4.0))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(rows, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True
    """

    name = "blend"
    promise = Promise.of_rows(
        "as near as the two couplers",
        time="the sum of both",
        memory="the sum of both",
        causal="optional",
        pairs=True,
        gradient="as both",
        source="this library",
    )

    def __init__(self, first: Coupler, second: Coupler, heads: int, *, gate: float = 0.0) -> None:
        super().__init__()
        one, two = first.promise, second.promise
        for coupler in (first, second):
            if coupler.promise.rows is None:
                raise InputError(
                    f"{type(coupler).__name__} has no exact row sums, so a blend with it would not be a mean of the "
                    "values: use 'expected-slices' in place of 'soft-slices'."
                )
        self.first, self.second = first, second
        self.jumps = first.jumps or second.jumps
        self.one_sequence = first.one_sequence or second.one_sequence
        self.gate = nn.Parameter(torch.full((heads,), float(gate)))
        causal = {one.causal, two.causal}
        self.promise = Promise(
            rows=max(one.rows or 0.0, two.rows or 0.0),
            columns=None if one.columns is None or two.columns is None else max(one.columns, two.columns),
            exactness=f"(1 - λ) × [{one.exactness}] + λ × [{two.exactness}]",
            time=f"{one.time} + {two.time}",
            memory=f"{one.memory} + {two.memory}",
            causal="no" if "no" in causal else "always" if causal == {"always"} else "optional",
            pairs=one.pairs and two.pairs,
            square=one.square or two.square,
            gradient=f"{one.gradient}; {two.gradient}",
            source=f"{one.source}; {two.source}",
        )

    @classmethod
    def build(
        cls,
        heads: int,
        width: int,
        *,
        first: str = "softmax",
        second: str = "pivots",
        gate: float = 0.0,
        **options: Any,
    ) -> Self:
        """Softmax and pivots if nothing else is named; ``options`` are those of the second coupler."""
        return cls(build(first, heads, width), build(second, heads, width, **options), heads, gate=gate)

    def _couple(self, heads: Heads) -> Coupling:
        n, m = heads.q.shape[-2], heads.k.shape[-2]
        terms = []
        for coupler, weight in zip((self.first, self.second), self._weights(), strict=True):
            plan = coupler._couple(heads)
            weight = weight.to(plan.dtype)[:, None]
            terms.append(plan._scale(weight.expand(-1, n), torch.ones_like(weight).expand(-1, m)))
        return SumCoupling._make(terms=tuple(terms))

    def _attend(self, heads: Heads, v: Tensor, dropout: float) -> Tensor:
        parts = [
            weight.to(v.dtype)[:, None, None] * coupler._attend(heads, v, dropout)
            for coupler, weight in zip((self.first, self.second), self._weights(), strict=True)
        ]
        return parts[0] + parts[1]

    def _weights(self) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(-self.gate), torch.sigmoid(self.gate)
