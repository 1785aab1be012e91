"""Many small problems at once: doubly stochastic matrices beside `torch.compile`, small plans beside POT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monge.nn.functional import doubly_stochastic

from ._measure import in_turn, report


def main() -> None:
    """The two kinds of small problems, one after the other."""
    for dtype in (torch.float64, torch.float32):
        matrices(1_000_000, 4, dtype)


def matrices(count: int, n: int, dtype: torch.dtype) -> None:
    """Twenty iterations of both sides, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(count, n, n, generator=generator, dtype=dtype).requires_grad_()
    upstream = torch.randn(count, n, n, generator=generator, dtype=dtype)

    def plain(scores: Tensor) -> Tensor:
        plan = torch.exp(scores - scores.amax((-2, -1), keepdim=True))
        for _ in range(20):
            plan = plan / plan.sum(-2, keepdim=True)
            plan = plan / plan.sum(-1, keepdim=True)
        return plan

    def both_ways(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        plan = function(scores)
        return plan.detach(), torch.autograd.grad(plan, scores, upstream)[0]

    compiled = torch.compile(plain)
    contestants: dict[str, Callable[[], Any]] = {
        "torch.compile": lambda: both_ways(compiled),
        "monge": lambda: both_ways(doubly_stochastic),
    }
    differences = (one - other for one, other in zip(both_ways(plain), both_ways(doubly_stochastic), strict=True))
    plan, gradient = (float(difference.abs().max()) for difference in differences)
    facts = {"difference of the matrices": f"{plan:.1e}", "difference of the gradients": f"{gradient:.1e}"}
    title = f"{count:,} matrices of {n} x {n}, 20 iterations, forward and backward, {str(dtype).removeprefix('torch.')}"
    report("small", title, in_turn(contestants, runs=3), "torch.compile", **facts)
