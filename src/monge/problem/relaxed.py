"""The marginal of unbalanced transport."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from monge._arrays import pick
from monge._checks import check_batches, check_number
from monge._value import value
from monge.errors import InputError

from .marginal import Marginal, column
from .penalty import PENALTIES, Penalty

__all__ = ["Relaxed"]


@value
class Relaxed(Marginal):
    """The marginal should be near the weights, at a price.

    The price is rho KL(mu | a) for "kl", (rho / 2) |mu - a|^2 for "l2", and rho |mu - a|_1 for "tv". A large
    rho approaches `Fixed`. Other prices are classes derived from `Penalty`, by the names they have in `PENALTIES`.

    Args:
        weights: The masses a of the points; zeros mark absent points.
        rho: Strength of the price, positive: a number, or one number per problem of a batch.
        penalty: How the difference of mu and a is measured: a name of `PENALTIES`.

    Raises:
        InputError: If the weights are negative, not finite, or all zero; if rho is not positive and finite;
            if there is no penalty of this name.

    Example:
        >>> import torch
        >>> from monge.problem import Relaxed
        >>> Relaxed(torch.tensor([0.25, 0.75]), rho=2.0)
        Relaxed(weights=float32[2], rho=2.0, penalty='kl')

    Source: Chizat et al., Scaling algorithms for unbalanced optimal transport problems, arXiv:1607.05816.
    """

    rho: float | Float[Tensor, "*b"]
    penalty: str = "kl"

    def __post_init__(self) -> None:
        Marginal.__post_init__(self)
        PENALTIES.require(self.penalty)
        if not isinstance(self.rho, Tensor):
            check_number("rho", float(self.rho), low=0.0, strict=True)
        elif not bool(((self.rho > 0) & self.rho.isfinite()).all()):
            raise InputError(f"rho must be positive and finite, but is {self.rho.tolist()}: use Fixed for rho = inf.")
        elif self.rho.ndim:
            # Several prices make several problems, even if they share their weights.
            batch = check_batches(weights=self.weights.shape[:-1], rho=self.rho.shape)
            object.__setattr__(self, "weights", self.weights.expand(*batch, self.weights.shape[-1]))

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether missing the weights costs at most linearly."""
        return self._price.rates is not None

    def _select(self, index: Any, batch: torch.Size) -> Self:
        return super()._select(index, batch)._replace(rho=pick(self.rho, 0, batch, index))

    @property
    def _price(self) -> Penalty:
        return PENALTIES[self.penalty](self.weights, column(self.rho))

    @property
    def _rates(self) -> tuple[Any, Any] | None:
        """What a unit too little and a unit too much cost, per problem, where the price is linear."""
        rates = self._price.rates
        return None if rates is None else (rates[0] * self.rho, rates[1] * self.rho)

    def _maximiser(self, q: Tensor, epsilon: Tensor) -> Tensor:
        return self._price.maximiser(q, column(epsilon))

    def _conjugate(self, f: Tensor) -> Tensor:
        return self._price.conjugate(f).sum(-1)

    def _penalty(self, mu: Tensor) -> Tensor:
        return self._price.price(mu).sum(-1)

    def _project(self, f: Tensor) -> Tensor:
        return self._price.project(f)

    def _mass_at(self, f: Tensor) -> Tensor:
        return self._price.mass_at(f)

    def _curvature(self, f: Tensor) -> Tensor:
        return self._price.curvature(f)
