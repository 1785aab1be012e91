"""Many small problems at once: doubly stochastic matrices beside `torch.compile`, small plans beside POT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ot
import torch
from torch import Tensor

import monge
from monge.nn.functional import doubly_stochastic

from ._measure import in_turn, report


def main() -> None:
    """The two kinds of small problems, one after the other."""
    one_plan(32)
    plans(1000, 32)
    for dtype in (torch.float64, torch.float32):
        matrices(1_000_000, 4, dtype)


def problems(count: int, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clouds and random weights."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, count, n, 3, generator=generator, dtype=torch.float64)
    a, b = torch.rand(2, count, n, generator=generator, dtype=torch.float64)
    return x, y, a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


def peer(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> float:
    """The cost of one plan by POT, its matrix of costs included."""
    cost = ot.dist(x.numpy(), y.numpy())
    return float((ot.emd(a.numpy(), b.numpy(), cost) * cost).sum())


def one_plan(n: int) -> None:
    """A call for one problem, whose time is that of Python more than that of the plan."""
    x, y, a, b = (part[0] for part in problems(1, n))
    uniform = torch.full_like(a, 1.0 / n)
    contestants: dict[str, Callable[[], Any]] = {
        "POT, weighted": lambda: peer(x, y, a, b),
        "monge, weighted": lambda: monge.couple(x, y, a, b),
        "POT, uniform": lambda: peer(x, y, uniform, uniform),
        "monge, uniform": lambda: monge.couple(x, y),
    }
    off = abs(peer(x, y, a, b) - float(monge.wasserstein(x, y, a, b, p=2) ** 2))
    title = f"one exact plan between {n} points a side in dimension 3, float64"
    report("small", title, in_turn(contestants, runs=20, calls=20), "POT, weighted", difference=f"{off:.1e}")


def plans(count: int, n: int) -> None:
    """One call for all problems beside a loop."""
    x, y, a, b = problems(count, n)

    def loop() -> Tensor:
        return torch.tensor([peer(*each) for each in zip(x, y, a, b, strict=True)], dtype=x.dtype)

    def call() -> Tensor:
        return monge.solve(monge.problem.Linear.between(x, y, a, b)).value

    contestants: dict[str, Callable[[], Any]] = {"loop over POT": loop, "monge": call}
    off = float((loop() - call()).abs().max())
    title = f"{count} weighted exact problems of {n} x {n} points, float64"
    report("small", title, in_turn(contestants, runs=5), "loop over POT", difference=f"{off:.1e}")


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
