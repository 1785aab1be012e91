"""The Sinkhorn divergence as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from monge._checks import check_number
from monge.api import divergence
from monge.problem.epsilon import Relative
from monge.solver import Solver

from .loss import Loss

__all__ = ["SinkhornLoss"]


class SinkhornLoss(Loss):
    r"""The Sinkhorn divergence of `divergence`: entropic transport without its bias.

    $$s\,S_\epsilon(\mu, \nu), \qquad S_\epsilon(\mu, \nu) = \mathrm{OT}_\epsilon(\mu, \nu)
    - \tfrac12\mathrm{OT}_\epsilon(\mu, \mu) - \tfrac12\mathrm{OT}_\epsilon(\nu, \nu)$$
    It is non-negative, zero only for equal measures, and its gradient vanishes there. No matrix of pairs is built.

    GeomLoss divides the cost by p. Its ``SamplesLoss("sinkhorn", p=2, blur=s)`` is therefore
    ``SinkhornLoss(epsilon=2 * s**2, scale=0.5, reduction="none")``, and with ``p=1`` it is
    ``SinkhornLoss(epsilon=s, cost="euclidean", reduction="none")``. Its ``reach=r`` is ``rho=2 * r**2`` and ``rho=r``.

    Args:
        epsilon: Strength of the entropy, positive, in units of the cost, or `relative`.
        cost: A symmetric cost, as in `divergence`.
        rho: Price of missing a marginal; None for fixed marginals.
        scale: The factor s.
        solver: An entropic solver; None chooses.
        reduction: As in `Loss`.

    Raises:
        InputError: If ``scale`` is not a positive number, or ``reduction`` is unknown; and when it is called, as
            `divergence`.

    Example:
        >>> import torch
        >>> from monge.loss import SinkhornLoss
        >>> x = torch.tensor([[0.0], [1.0]], requires_grad=True)
        >>> loss = SinkhornLoss(epsilon=100.0)(x, torch.tensor([[2.0], [3.0]]))
        >>> loss.backward()
        >>> x.grad.round(decimals=1)  # a large epsilon compares the means: 2 (0.5 - 2.5) / 2 for each point
        tensor([[-2.],
                [-2.]])

    Source: Feydy et al., Interpolating between optimal transport and MMD using Sinkhorn divergences (arXiv 1810.08278).
    """

    _told: ClassVar[tuple[str, ...]] = ("epsilon", "cost", "rho", "scale", "solver")

    def __init__(
        self,
        epsilon: float | Tensor | Relative = 0.05,
        *,
        cost: str | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
        rho: float | Tensor | None = None,
        scale: float = 1.0,
        solver: Solver | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        check_number("scale", scale, low=0.0, strict=True)
        self.epsilon, self.cost, self.rho, self.scale, self.solver = epsilon, cost, rho, scale, solver

    def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        found = divergence(x, y, a, b, cost=self.cost, epsilon=self.epsilon, rho=self.rho, solver=self.solver)
        return self.scale * found
