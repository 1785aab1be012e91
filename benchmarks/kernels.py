"""The streaming kernels against dense torch, measured side by side in one process.

Correctness comes first: every kernel must agree with the dense formula in float64 as closely as dense torch in the
same dtype does, or nothing is timed. Times are medians with minimum and maximum; ratios compare within one run only.

    python benchmarks/kernels.py [--n 4000] [--repeat 9] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from monge.kernels import Matrix, Points, apply, ctransform, sinkhorn, softmin, top_k


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"n = m = {options.n}, {options.threads} threads, torch {torch.__version__}\n")
    for dtype in (torch.float32, torch.float64):
        for d in (3, 64):
            compare(options.n, d, dtype, options.repeat)
    small(options.repeat)
    large()


def problem(n: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """Two Gaussian clouds and an epsilon of five per cent of the mean cost."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator, dtype=dtype)
    y = 1.2 * torch.randn(n, d, generator=generator, dtype=dtype) + 0.5 / d**0.5
    return x, y, 0.05 * float((x[:500, None] - y[None, :500]).square().sum(-1).mean())


def compare(n: int, d: int, dtype: torch.dtype, repeat: int) -> None:
    """One table: dense torch on stored costs, and the kernels on stored costs and on points."""
    x, y, epsilon = problem(n, d, dtype)
    bias = torch.full((n,), 1 / n, dtype=dtype).log()
    g, v = torch.zeros(n, dtype=dtype), torch.randn(n, 64, dtype=dtype)
    points = Points(x, y)
    cost = points.block(slice(None))
    matrix = Matrix(cost)
    exact = -epsilon * torch.logsumexp(bias.double() - Points(x.double(), y.double()).block(slice(None)) / epsilon, -1)

    def dense() -> Tensor:
        return -epsilon * torch.logsumexp(bias - cost / epsilon, -1)

    scale = float(exact.abs().max())
    errors = {
        name: float((f - exact).abs().max()) / scale
        for name, f in [
            ("dense", dense()),
            ("matrix", softmin(matrix, bias, epsilon)),
            ("points", softmin(points, bias, epsilon)),
        ]
    }
    bound = 10 * torch.finfo(dtype).eps
    wrong = {name: error for name, error in errors.items() if error > max(bound, 4 * errors["dense"])}
    if wrong:
        raise SystemExit(f"softmin is wrong, nothing is timed: relative errors {wrong}, bound {bound:g}")
    f, g_new, _ = sinkhorn(points, g, bias, bias, epsilon)
    back = softmin(points.transpose(), f / epsilon + bias, epsilon)
    if float((g_new - back).abs().max()) > 20 * torch.finfo(dtype).eps * scale:
        raise SystemExit("sinkhorn differs from two soft minima, nothing is timed")
    print(f"{dtype}, d = {d}; relative errors: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))

    xg, yg, bg = (t.clone().requires_grad_() for t in (x, y, bias))
    rows: list[tuple[str, Callable[[], object]]] = [
        ("dense torch.logsumexp, stored costs", dense),
        ("softmin, stored costs", lambda: softmin(matrix, bias, epsilon)),
        ("softmin, points", lambda: softmin(points, bias, epsilon)),
        ("two soft minima, stored costs", lambda: both(matrix, bias, epsilon)),
        ("two soft minima, points", lambda: both(points, bias, epsilon)),
        ("sinkhorn in one pass, stored costs", lambda: sinkhorn(matrix, g, bias, bias, epsilon)),
        ("sinkhorn in one pass, points", lambda: sinkhorn(points, g, bias, bias, epsilon)),
        ("softmin and gradient, points", lambda: softmin(Points(xg, yg), bg, epsilon).sum().backward()),
        ("barycentres of 64 values, points", lambda: apply(points, None, bias, v, epsilon)),
        ("ctransform, points", lambda: ctransform(points, g)),
        ("top 8, points", lambda: top_k(points, g, 8)),
    ]
    report(rows, repeat)


def both(pairs: Points | Matrix, bias: Tensor, epsilon: float) -> Tensor:
    """A Sinkhorn iteration as two half-steps."""
    f = softmin(pairs, bias, epsilon)
    return softmin(pairs.transpose(), f / epsilon + bias, epsilon)


def small(repeat: int) -> None:
    """Latency, where overhead is everything."""
    print("latency, float32, d = 3")
    rows: list[tuple[str, Callable[[], object]]] = []
    for n in (10, 100, 1000):
        x, y, epsilon = problem(n, 3, torch.float32)
        bias = torch.zeros(n)
        cost = Points(x, y).block(slice(None))
        rows += [
            (f"n = {n:4}, dense torch.logsumexp", lambda b=bias, c=cost, e=epsilon: torch.logsumexp(b - c / e, -1)),
            (f"n = {n:4}, softmin, points", lambda x=x, y=y, b=bias, e=epsilon: softmin(Points(x, y), b, e)),
            (f"n = {n:4}, sinkhorn, points", lambda x=x, y=y, b=bias, e=epsilon: sinkhorn(Points(x, y), b, b, b, e)),
        ]
    report(rows, 20 * repeat)


def large() -> None:
    """Peak memory over what was there before, at a size whose cost matrix would take 1.6 GB."""
    n = 20000
    x, y, epsilon = problem(n, 3, torch.float32)
    bias, v = torch.zeros(n), torch.randn(n, 16)
    before = peak()
    xg, yg = x.clone().requires_grad_(), y.clone().requires_grad_()
    start = time.perf_counter()
    softmin(Points(xg, yg), bias, epsilon).sum().backward()
    apply(Points(x, y), None, bias, v, epsilon)
    top_k(Points(x, y), bias, 8)
    sinkhorn(Points(x, y), bias, bias, bias, epsilon)
    print(
        f"n = m = {n}: value, gradient, P v, top 8 and a Sinkhorn iteration in {time.perf_counter() - start:.2f} s, "
        f"{(peak() - before) / 2**20:.0f} MiB above what the process held before"
    )


def peak() -> int:
    """The most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(rows: list[tuple[str, Callable[[], object]]], repeat: int) -> None:
    """Time the rows in turns, so that a disturbance meets them all, and print medians with minimum and maximum."""
    times: list[list[float]] = [[] for _ in rows]
    for turn in range(repeat + 1):
        for k, (_, run) in enumerate(rows):
            start = time.perf_counter()
            run()
            if turn:
                times[k].append(time.perf_counter() - start)
    base = statistics.median(times[0])
    for (name, _), held in zip(rows, times, strict=True):
        middle = statistics.median(held)
        print(
            f"  {name:38} {1e3 * middle:9.3f} ms  [{1e3 * min(held):.3f}, {1e3 * max(held):.3f}]  {base / middle:6.1f} x"
        )
    print()


if __name__ == "__main__":
    main()
