"""Every coupler by name, measured: time against fused softmax attention, memory, errors of rows and columns."""

from __future__ import annotations

from collections.abc import Callable

import torch

from monge.nn.couplers import build, names
from monge.nn.diagnostics import marginal_error

from ._measure import Live, in_turn, keep

HEADS, WIDTH = 4, 64
# What takes cubic time, or more, stops earlier.
LARGEST = {"soft-slices": 0, "circuit": 0, "qr": 512, "cayley": 512}


def main() -> None:
    """Two lengths, forward and backward."""
    for n, runs in ((512, 5), (1024, 3)):
        measure(n, runs)


def measure(n: int, runs: int) -> None:
    """A row for every coupler that is worth running at n tokens."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, cotangent = (torch.randn(1, HEADS, n, WIDTH, generator=generator) for _ in range(4))
    # Scores of standard deviation two: sharp enough that balance is no gift.
    q = 2.0 * q
    torch.manual_seed(0)
    chosen = {name: build(name, HEADS, WIDTH) for name in names() if LARGEST.get(name, n) >= n}

    with torch.no_grad():
        # Pivots of the size of keys, as training makes them, so that their scores are as sharp.
        for coupler in chosen.values():
            for key, parameter in coupler.named_parameters():
                if key.endswith("locations"):
                    parameter.mul_(WIDTH**0.5)

    def step(coupler: torch.nn.Module) -> Callable[[], None]:
        def run() -> None:
            leaves = [t.clone().requires_grad_() for t in (q, k, v)]
            coupler.attend(*leaves).backward(cotangent)  # type: ignore[operator]

        return run

    timings = in_turn({name: step(coupler) for name, coupler in chosen.items()}, runs=runs)
    rows = []
    for name, coupler in chosen.items():
        with torch.no_grad():
            row, column = (float(error.max()) for error in marginal_error(coupler(q, k)))
        with Live() as live:
            step(coupler)()
        ratio = timings[name].median / timings["softmax"].median
        errors = [f"{error:.0e}" for error in (row, column)]
        rows.append([f"`{name}`", f"{ratio:.2f}", f"{live.peak / 2**20:.0f}", *errors])
    keep(
        "couplers",
        f"couplers at n = {n}, {HEADS} heads of {WIDTH}, float32, forward and backward",
        ["coupler", "time over softmax", "peak memory, MB", "row error", "column error"],
        rows,
    )
