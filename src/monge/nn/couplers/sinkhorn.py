"""The plan-anchored coupler: Sinkhorn attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge._checks import check_number
from monge.coupling import Coupling, DenseCoupling

from ..functional._heads import Heads
from ..functional._padding import uniform, unless_scored
from ..functional.sinkhorn import Balance, plan_rows, sinkhorn_potentials, sinkhorn_read
from ._coupler import Coupler, Promise
from ._row_coupling import RowCoupling

__all__ = ["Sinkhorn"]


class Sinkhorn(Coupler):
    """The entropic plan of the scores with uniform marginals, after a fixed number of half-steps or to a tolerance.

    Args:
        n_half: Half-steps, the last one on the rows; 1 is softmax attention.
        epsilon: Strength of the entropy; lower is closer to a matching, and slower to converge.
        tol: If given, iterate until the L1 error of the columns is below it; this is checked every ten rounds.
        max_iter: The largest number of rounds, with ``tol``.
        gradient: "unrolled" through the half-steps, or "implicit" at their fixed point.
        memory: "dense", or "linear", which stores no matrix of all pairs, forward and backward.
        learn_epsilon: Make epsilon a parameter, kept positive by softplus.
        scale: $s$, $d^{-1/2}$ if None.

    Example:
        >>> from monge.nn.couplers import Sinkhorn
        >>> attention = monge.nn.Attention(16, 2, coupler=Sinkhorn(tol=1e-7))
        >>> rows, columns = attention.couple(torch.randn(3, 10, 16)).marginals()
        >>> torch.allclose(columns, torch.full((3, 2, 10), 0.1), atol=1e-5)
        True

    Source: Sander, Ablin, Blondel, Peyré, Sinkformers: Transformers with doubly stochastic attention, arXiv 2110.11773.
    """

    name = "sinkhorn"
    promise = Promise.of_rows(
        "at convergence",
        time="n_half n² d",
        memory="n², or n with memory='linear'",
        pairs=True,
        gradient="unrolled or implicit",
        source="arXiv 2110.11773",
    )

    def __init__(
        self,
        n_half: int = 5,
        epsilon: float = 1.0,
        *,
        tol: float | None = None,
        max_iter: int = 1000,
        gradient: str = "unrolled",
        memory: str = "dense",
        learn_epsilon: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        check_number("epsilon", epsilon, low=0.0, strict=True)
        self.n_half, self.tol, self.max_iter = n_half, tol, max_iter
        self.gradient, self.memory, self.scale = gradient, memory, scale
        self._epsilon: float | nn.Parameter = epsilon
        if learn_epsilon:
            self._epsilon = nn.Parameter(torch.tensor(math.log(math.expm1(epsilon))))
        # What is wrong with the other options is said now.
        self._balance()

    @property
    def epsilon(self) -> float | Tensor:
        """The present epsilon."""
        return F.softplus(self._epsilon) if isinstance(self._epsilon, Tensor) else self._epsilon

    def _balance(self) -> Balance:
        return Balance(
            self.scale, self.epsilon, self.n_half, self.tol, self.max_iter, gradient=self.gradient, memory=self.memory
        )

    def _couple(self, heads: Heads) -> Coupling:
        q, k, balance = heads.q, heads.k, self._balance()
        factor = balance.factor(q)
        q = q + unless_scored(q, k, factor)
        a = uniform(q, heads.query_padding)
        logits, u, price = sinkhorn_potentials(heads._replace(q=q), balance)
        if logits is None:
            return RowCoupling._make(q=q * factor, k=k, price=price, a=a, b=torch.ones_like(price))
        rows = plan_rows(logits, u, price, a.log(), "rows")
        return DenseCoupling._make(matrix=rows * a[..., None])

    def _read(self, heads: Heads, v: Tensor) -> Tensor:
        return sinkhorn_read(heads, v, self._balance())
