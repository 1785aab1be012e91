"""The streaming kernels against dense torch, side by side in one process.

Correctness comes first: a kernel must be as close to the dense formula in float64 as dense torch of its own dtype is,
or nothing is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monge.kernels import Matrix, Pairs, Points, apply, ctransform, sinkhorn, softmin, top_k

from ._measure import in_turn, peak_memory, report

DENSE = "dense torch"


def main() -> None:
    """Large problems in both dtypes, latency of small ones, and the memory of one that no matrix could hold."""
    for dtype in (torch.float32, torch.float64):
        for d in (3, 64):
            compare(4000, d, dtype)
    for n in (10, 100, 1000):
        latency(n)
    memory(20_000)


def problem(n: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """Two Gaussian clouds, and an epsilon of five per cent of the mean cost."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    y = 1.2 * torch.randn(n, d, generator=generator, dtype=dtype) + 0.5 / d**0.5
    return x, y, 0.05 * float((x[:500, None] - y[None, :500]).square().sum(-1).mean())


def compare(n: int, d: int, dtype: torch.dtype) -> None:
    """Every kernel, on points and on stored costs; the baseline is torch.logsumexp of costs that are already there."""
    x, y, epsilon = problem(n, d, dtype)
    bias = torch.full((n,), 1 / n, dtype=dtype).log()
    g, v = torch.zeros(n, dtype=dtype), torch.randn(n, 64, dtype=dtype)
    points = Points(x, y)
    cost = points.block(slice(None))
    matrix = Matrix(cost)
    leaves = [t.clone().requires_grad_() for t in (x, y, bias)]

    def dense() -> Tensor:
        return -epsilon * torch.logsumexp(bias - cost / epsilon, -1)

    def two(pairs: Pairs) -> Tensor:
        f = softmin(pairs, bias, epsilon)
        return softmin(pairs.transpose(), f / epsilon + bias, epsilon)

    exact_cost = Points(x.double(), y.double()).block(slice(None))
    exact = -epsilon * torch.logsumexp(bias.double() - exact_cost / epsilon, -1)
    candidates = {"dense": dense(), "stored": softmin(matrix, bias, epsilon), "points": softmin(points, bias, epsilon)}
    errors = {name: float((f - exact).abs().max() / exact.abs().max()) for name, f in candidates.items()}
    unit = torch.finfo(dtype).eps
    assert max(errors.values()) <= max(10 * unit, 4 * errors["dense"]), f"softmin is wrong: {errors}"
    f, g_new, _ = sinkhorn(points, g, bias, bias, epsilon)
    assert (f - exact).abs().max() <= 20 * unit * exact.abs().max(), "sinkhorn is wrong"
    assert (g_new - two(points)).abs().max() <= 20 * unit * exact.abs().max(), "sinkhorn is not two half-steps"

    contestants: dict[str, Callable[[], Any]] = {
        DENSE: dense,
        "softmin, stored costs": lambda: softmin(matrix, bias, epsilon),
        "softmin, points": lambda: softmin(points, bias, epsilon),
        "two soft minima, stored costs": lambda: two(matrix),
        "two soft minima, points": lambda: two(points),
        "sinkhorn in one pass, stored costs": lambda: sinkhorn(matrix, g, bias, bias, epsilon),
        "sinkhorn in one pass, points": lambda: sinkhorn(points, g, bias, bias, epsilon),
        "softmin with gradients, points": lambda: softmin(Points(*leaves[:2]), leaves[2], epsilon).sum().backward(),
        "barycentres of 64 values, points": lambda: apply(points, None, bias, v, epsilon),
        "ctransform, points": lambda: ctransform(points, g),
        "top 8, points": lambda: top_k(points, g, 8),
    }
    told = {f"relative error, {name}": f"{error:.1e}" for name, error in errors.items()}
    name = str(dtype).removeprefix("torch.")
    report("kernels", f"streaming kernels, n = {n}, d = {d}, {name}", in_turn(contestants), DENSE, **told)


def latency(n: int) -> None:
    """Where overhead is everything; a hundred calls are one run."""
    x, y, epsilon = problem(n, 3, torch.float32)
    zeros, cost = torch.zeros(n), Points(x, y).block(slice(None))
    calls: dict[str, Callable[[], Any]] = {
        DENSE: lambda: torch.logsumexp(zeros - cost / epsilon, -1),
        "softmin, points": lambda: softmin(Points(x, y), zeros, epsilon),
        "sinkhorn in one pass, points": lambda: sinkhorn(Points(x, y), zeros, zeros, zeros, epsilon),
    }
    hundred = {name: lambda call=call: [call() for _ in range(100)] for name, call in calls.items()}
    report("kernels", f"latency of 100 calls, n = {n}, d = 3, float32", in_turn(hundred), DENSE)


def memory(n: int) -> None:
    """What value, gradient, P v, top 8 and an iteration add to the process, where the matrix would be n * n numbers."""
    x, y, epsilon = problem(n, 3, torch.float32)
    bias, v = torch.zeros(n), torch.randn(n, 16)
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    for name, run in {
        "value and gradient": lambda: softmin(Points(*leaves), bias, epsilon).sum().backward(),
        "P v": lambda: apply(Points(x, y), None, bias, v, epsilon),
        "top 8": lambda: top_k(Points(x, y), bias, 8),
        "sinkhorn": lambda: sinkhorn(Points(x, y), bias, bias, bias, epsilon),
    }.items():
        report(
            "kernels", f"memory, n = {n}: {name}", in_turn({name: run}, runs=1), name, peak=f"{peak_memory(run):.0f} MB"
        )


if __name__ == "__main__":
    main()
