"""One-dimensional, circular and sliced transport, against POT and against the cost of sorting in torch."""

from __future__ import annotations

import numpy as np
import ot
import torch

from monge import kernels
from monge.sliced import directions, partial_profile, sliced_partial_wasserstein, sliced_wasserstein

from ._measure import in_turn, report


def main() -> None:
    """All comparisons."""
    sliced()
    circle()
    for p in (1, 2):
        partial_line(p)
    sliced_partial()


def sliced(n: int = 10_000, count: int = 1000, d: int = 3) -> None:
    """SW_2 of two clouds, float32: forward, and forward with backward."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    y = 1.2 * torch.randn(n, d, generator=generator) + 0.3
    theta = directions(count, d, generator=generator)
    numpy_x, numpy_y, numpy_theta = x.numpy(), y.numpy(), theta.numpy().T
    u, v = theta @ x.T, theta @ y.T

    def pot() -> float:
        return ot.sliced_wasserstein_distance(numpy_x, numpy_y, projections=numpy_theta)

    def monge() -> torch.Tensor:
        return sliced_wasserstein(x, y, theta=theta).distance

    def monge_backward() -> None:
        leaf = x.clone().requires_grad_()
        other = y.clone().requires_grad_()
        sliced_wasserstein(leaf, other, theta=theta).cost.backward()

    def two_sorts() -> None:
        u.sort(-1)
        v.sort(-1)

    assert abs(monge().item() - float(pot())) < 1e-4 * float(pot()), "the contestants disagree"
    timings = in_turn(
        {
            "POT, numpy": pot,
            "two torch.sort": two_sorts,
            "monge": monge,
            "monge, forward and backward": monge_backward,
        },
        runs=3,
    )
    report("sliced", f"SW_2, n = m = {n}, L = {count}, d = {d}, float32", timings, "POT, numpy")


def circle(n: int = 1000, rows: int = 50) -> None:
    """W_2 on the circle, float64, many pairs."""
    rng = np.random.default_rng(0)
    x, y = rng.random((rows, n)), rng.random((rows, n)) ** 2
    torch_x, torch_y = torch.from_numpy(x), torch.from_numpy(y)
    transposed_x, transposed_y = np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)

    def pot() -> np.ndarray:
        return ot.wasserstein_circle(transposed_x, transposed_y, p=2)

    def monge() -> torch.Tensor:
        return kernels.circle_distance(torch_x, torch_y, p=2.0)

    difference = np.abs(pot() - monge().numpy()).max()
    assert difference < 1e-7, "the contestants disagree"
    timings = in_turn({"POT, numpy": pot, "monge": monge})
    report(
        "sliced", f"circular W_2, n = {n}, {rows} pairs, float64", timings, "POT, numpy", largest_difference=difference
    )


def partial_line(p: int, n: int = 10_000) -> None:
    """The whole profile of partial transport on the line, float64."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=n), 1.2 * rng.normal(size=n) + 0.3
    torch_x, torch_y = torch.from_numpy(x), torch.from_numpy(y)

    def pot() -> np.ndarray:
        return np.cumsum(ot.partial.partial_wasserstein_1d(x, y, p=p)[2])

    def monge() -> np.ndarray:
        return partial_profile(torch_x, torch_y, p=float(p)).cost.numpy()

    difference = np.abs(pot() - monge()[1:]).max() / monge()[-1]
    assert difference < 1e-10, "the contestants disagree"
    contestants = {
        "POT": pot,
        "monge": monge,
        "monge, stopped at a small penalty": lambda: partial_profile(torch_x, torch_y, p=float(p), penalty=1e-4),
    }
    title = f"partial transport on the line, whole profile, p = {p}, n = m = {n}, float64"
    report("sliced", title, in_turn(contestants), "POT", largest_relative_difference=difference)


def sliced_partial(n: int = 10_000, count: int = 100, d: int = 3) -> None:
    """Sliced partial transport by penalties, with and without gradient, float32; the baseline moves everything."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    y = 1.2 * torch.randn(n, d, generator=generator) + 0.3
    theta = directions(count, d, generator=generator)

    def backward() -> None:
        leaf = x.clone().requires_grad_()
        sliced_partial_wasserstein(leaf, y, penalty=1e-3, theta=theta).cost.backward()

    contestants = {
        "all of it": lambda: sliced_partial_wasserstein(x, y, theta=theta),
        "penalty 1": lambda: sliced_partial_wasserstein(x, y, penalty=1.0, theta=theta),
        "penalty 0.001": lambda: sliced_partial_wasserstein(x, y, penalty=1e-3, theta=theta),
        "penalty 0.001, forward and backward": backward,
    }
    title = f"sliced partial transport, p = 2, n = m = {n}, L = {count}, d = {d}, float32"
    report("sliced", title, in_turn(contestants, runs=3), "all of it")
