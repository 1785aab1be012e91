"""Does `Auto` choose well? Sixty problems, each solved by every solver that can, and what the estimates say.

A solver that misses its tolerance, or takes more than twenty seconds, does not count. The estimates of `explain` are
compared with the times: for each solver, the middle of (seconds measured / seconds estimated) says by what its prices
would have to be multiplied, and the spread how far they can be trusted.
"""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

import monge
from monge.geometry import CostMatrix, Grid, Line, PointCloud
from monge.problem import AtMost, Linear, Relaxed
from monge.solver import Auto, Solver, solve

from ._measure import keep

LIMIT = 20.0
Make = Callable[[], Linear]


def main() -> None:
    """Time all, then judge the choices."""
    torch.set_num_threads(1)
    rows, worst, prices = [], [], {}
    for title, make in problems():
        problem = make()
        told = Auto().explain(problem)
        able = [row for row in told.rows if row.capability.supported and row.capability.cost < math.inf]
        found = {type(row.solver).__name__: measured(make, row.solver) for row in able}
        for row in able:
            seconds = found[type(row.solver).__name__]
            if seconds < math.inf:
                prices.setdefault(type(row.solver).__name__, []).append(seconds / (row.capability.cost * 1e-9))
        chosen, best = type(able[0].solver).__name__, min(found, key=lambda name: found[name])
        ratio = found[chosen] / found[best] if found[best] < math.inf else math.nan
        worst.append((ratio, title))
        times = ", ".join(f"{name} {seconds:.3g}" for name, seconds in sorted(found.items(), key=lambda one: one[1]))
        rows.append([title, chosen, f"{found[chosen]:.3g}", f"{ratio:.2f}", times])
        print(*rows[-1], sep=" | ", flush=True)
    over = sum(not ratio <= 2 for ratio, _ in worst)
    columns = ["problem", "chosen", "seconds", "times the best", "all, seconds"]
    keep("router", "The solver that is chosen", columns, rows, problems=len(rows), more_than_twice_the_best=over)
    fitted = [
        [name, str(len(some)), f"{statistics.median(some):.3g}", f"{min(some):.3g}", f"{max(some):.3g}"]
        for name, some in prices.items()
    ]
    keep("router", "Seconds measured, by seconds estimated", ["solver", "problems", "middle", "least", "most"], fitted)


def problems() -> Iterator[tuple[str, Make]]:
    """Sixty, small to large."""
    for d in (2, 16):
        for n in (32, 256, 1000, 3000, 5000):
            yield f"exact, {n} points, d = {d}", lambda n=n, d=d: Linear(clouds(n, n, d))
        for n, m in ((32, 48), (300, 500), (1500, 2500), (40, 4000)):
            yield f"exact, {n} x {m} weighted, d = {d}", lambda n=n, m=m, d=d: weighted(clouds(n, m, d))
        yield f"exact, 200 problems of 16 points, d = {d}", lambda d=d: Linear(clouds(16, 16, d, 200))
        yield (
            f"entropic, 200 problems of 16 points, d = {d}",
            lambda d=d: Linear(clouds(16, 16, d, 200), epsilon=monge.relative(0.05)),
        )
    for n in (100, 10_000):
        yield f"exact, {n} points on a line", lambda n=n: Linear(Line(numbers(n), numbers(n).square()))
    yield "exact, matrix of costs, 300 x 300", lambda: Linear(CostMatrix(numbers(300, 300)))
    yield "entropic, matrix of costs, 300 x 300", lambda: Linear(CostMatrix(numbers(300, 300)), epsilon=0.01)
    for d in (2, 64):
        for n in (32, 256, 1000, 4000):
            for share in (0.1, 0.01, 0.001):
                if n * (1 / share) <= 400_000:
                    yield (
                        f"entropic, {n} points, d = {d}, epsilon {share} of the mean",
                        lambda n=n, d=d, share=share: Linear(clouds(n, n, d), epsilon=monge.relative(share)),
                    )
    for n in (256, 1000):
        for share in (0.05, 0.01):
            yield f"unbalanced, {n} points, epsilon {share}", lambda n=n, share=share: relaxed(n, share)
    for n in (50, 150):
        yield f"unbalanced without entropy, {n} points", lambda n=n: relaxed(n, 0.0)
    for n in (200, 800):
        yield f"half the mass, exact, {n} points", lambda n=n: partial(n, 0.0)
        yield f"half the mass, epsilon .05, {n} points", lambda n=n: partial(n, 0.05)
    for side in (8, 16, 28):
        yield f"pictures of {side} x {side}, epsilon .01", lambda side=side: pictures(side, 0.01)
    yield "pictures of 16 x 16, exact", lambda: pictures(16, 0.0)


def measured(make: Make, solver: Solver) -> float:
    """Seconds of a solve, the middle of up to five; inf if it fails or takes too long."""
    context = multiprocessing.get_context("fork")
    mine, its = context.Pipe()
    process = context.Process(target=_timed, args=(its, make, solver))
    process.start()
    found = mine.recv() if mine.poll(2.2 * LIMIT) else math.inf
    process.kill()
    process.join()
    return found


def _timed(out: Connection, make: Make, solver: Solver) -> None:
    warnings.simplefilter("ignore")
    problem, seconds = make(), []
    try:
        while len(seconds) < 6 and sum(seconds) < LIMIT / 4:
            start = time.perf_counter()
            status = solve(problem, solver).report.status
            seconds.append(time.perf_counter() - start)
            if not status.ok or seconds[-1] > LIMIT:
                seconds = [math.inf]
                break
    except monge.TransportError:
        seconds = [math.inf]
    # The first call pays for what is made once.
    out.send(statistics.median(seconds[1:] or seconds))


def clouds(n: int, m: int, d: int, *batch: int) -> PointCloud:
    """Two normal clouds, one moved and wider."""
    generator = torch.Generator().manual_seed(n + d)
    x, y = (torch.randn(*batch, size, d, generator=generator, dtype=torch.float64) for size in (n, m))
    return PointCloud(x, 1.2 * y + 0.5 / d**0.5)


def numbers(*shape: int) -> Tensor:
    """Uniform random numbers."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def weighted(geometry: Any, epsilon: Any = 0.0) -> Linear:
    """A problem between random weights."""
    n, m = geometry.shape
    a, b = numbers(n) + 0.1, numbers(m) + 0.1
    return Linear(geometry, a / a.sum(), b / b.sum(), epsilon=epsilon)


def relaxed(n: int, share: float) -> Linear:
    """A problem whose marginals have a price."""
    geometry = clouds(n, n, 2)
    mean = float(geometry.mean(*(torch.full((n,), 1 / n, dtype=torch.float64) for _ in range(2))))
    sides = [Relaxed(torch.full((n,), 1 / n, dtype=torch.float64), mean, "kl") for _ in range(2)]
    return Linear(geometry, *sides, epsilon=share * mean)


def partial(n: int, share: float) -> Linear:
    """A problem that moves half of the mass."""
    sides = [AtMost(torch.full((n,), 1 / n, dtype=torch.float64)) for _ in range(2)]
    return Linear(clouds(n, n, 2), *sides, epsilon=monge.relative(share) if share else 0.0, mass=0.5)


def pictures(side: int, share: float) -> Linear:
    """Two pictures of blobs."""
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    blobs = [
        torch.exp(-((axis[:, None] - c) ** 2 + (axis - s) ** 2) / 0.1).flatten() + 1e-3
        for c, s in ((-0.4, 0.1), (0.3, 0.4))
    ]
    epsilon = monge.relative(share) if share else 0.0
    return Linear(Grid((side, side)).to(torch.float64), *(blob / blob.sum() for blob in blobs), epsilon=epsilon)
