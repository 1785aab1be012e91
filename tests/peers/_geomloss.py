"""GeomLoss's ``SamplesLoss`` by Monge alone: GeomLoss's arguments, order of arguments and units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monge import Linear
from monge.loss import SinkhornLoss
from monge.solver import warned_solution


class SamplesLoss(nn.Module):
    """The loss ``"sinkhorn"`` for the costs |x - y| and |x - y|^2 / 2; epsilon is blur^p and rho is reach^p.

    ``scaling`` and ``backend`` are settings of GeomLoss's algorithm and change nothing.
    """

    def __init__(
        self,
        loss: str = "sinkhorn",
        p: int = 2,
        blur: float = 0.05,
        reach: float | None = None,
        debias: bool = True,
        scaling: float = 0.5,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if loss != "sinkhorn" or p not in (1, 2) or backend not in ("auto", "tensorized", "online", "multiscale"):
            raise NotImplementedError(f"{loss=}, {p=}, {backend=}")
        # Half of the squared distance is the cost for p = 2, so all units are twice as large there.
        self.unit = float(p)
        self.cost = {1: "euclidean", 2: "sqeuclidean"}[p]
        self.epsilon = self.unit * blur**p
        self.rho = None if reach is None else self.unit * reach**p
        self.debias = debias

    def forward(self, *given: Tensor) -> Tensor:
        if self.debias:
            return SinkhornLoss(self.epsilon, cost=self.cost, rho=self.rho, scale=1 / self.unit, reduction="none")(
                *given
            )
        a, x, b, y = given if len(given) == 4 else (None, given[0], None, given[1])
        problem: Any = Linear.between(x, y, a, b, cost=self.cost, epsilon=self.epsilon, rho=self.rho)
        return torch.as_tensor(warned_solution(problem, None).value) / self.unit
