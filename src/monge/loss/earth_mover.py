"""Exact transport as a module."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from monge.api import wasserstein

from .loss import Loss

__all__ = ["EarthMoverLoss"]


class EarthMoverLoss(Loss):
    r"""The p-th power of the Wasserstein distance, exactly: what the cheapest plan costs.

    $$W_p^p(\mu, \nu) = \min_P \sum_{ij} P_{ij} \lVert x_i - y_j\rVert_2^p$$
    For equal numbers of points with equal weights this is a mean over the cheapest bijection. With p = 1 it is the
    earth mover's distance. The gradient moves every point to its partners; where two points meet it is zero, which for
    p = 1 is a subgradient.

    Args:
        p: Order, at least 1.
        reduction: As in `Loss`.

    Raises:
        InputError: If ``reduction`` is unknown; and when it is called, as `wasserstein`.
        InfeasibleError: When it is called, if the masses differ.

    Example:
        >>> import torch
        >>> from monge.loss import EarthMoverLoss
        >>> EarthMoverLoss()(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 2.0], [0.0, 4.0]]))
        tensor(3.)
    """

    _told: ClassVar[tuple[str, ...]] = ("p",)

    def __init__(self, p: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.p = p

    def _values(self, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor:
        distance = wasserstein(x, y, a, b, p=self.p)
        return distance if self.p == 1 else distance**self.p
