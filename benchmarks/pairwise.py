"""All distances between clouds of many sizes, and one small problem, against a loop over POT, at equal answers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import ot
import torch
from torch import Tensor

import monge

from ._measure import in_turn, report


def main() -> None:
    """All comparisons."""
    for count, smallest, largest, d in ((24, 33, 81, 20), (24, 33, 81, 2), (40, 4, 16, 3), (10, 200, 400, 3)):
        ragged(count, smallest, largest, d)
    small()


def ragged(count: int, smallest: int, largest: int, d: int) -> None:
    """Squared distances of all pairs; POT is handed one pair after the other."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(smallest, largest + 1, (count,), generator=generator).tolist()
    clouds = [torch.randn(n, d, generator=generator) for n in sizes]

    def ours() -> Tensor:
        return monge.pairwise(clouds)

    def pot() -> Tensor:
        found = torch.zeros(count, count)
        for i, j in combinations(range(count), 2):
            x, y = clouds[i].numpy(), clouds[j].numpy()
            a, b = (np.full(len(points), 1 / len(points)) for points in (x, y))
            found[i, j] = found[j, i] = float(ot.emd2(a, b, ot.dist(x, y))) ** 0.5
        return found

    apart = float((ours() - pot()).abs().max())
    title = f"distances between {count} clouds of {smallest} to {largest} points in dimension {d}, float32"
    report("pairwise", title, in_turn({"POT, a loop": pot, "monge": ours}), "POT, a loop", largest_difference=apart)


def small(n: int = 32) -> None:
    """What a call costs where there is hardly anything to solve."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    a = np.full(n, 1 / n)

    def pot() -> np.ndarray:
        return ot.emd(a, a, ot.dist(x.numpy(), y.numpy()))

    apart = float((monge.couple(x, y).dense() - torch.from_numpy(pot())).abs().max())
    contestants = {"POT": pot, "monge": lambda: monge.couple(x, y)}
    title = f"one plan between {n} and {n} points, float64"
    report("pairwise", title, in_turn(contestants, runs=25, warmup=10), "POT", largest_difference=apart)
