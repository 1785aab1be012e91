"""Barycentres of pictures and of histograms on a line, against POT, as fast and at the objective they reach."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import ot
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate, pad

import monge
from monge.geometry import Grid
from monge.problem import Linear
from monge.solver import Newton

from ._measure import in_turn, report

# Where POT stops by itself, and how much further it may go in search of the objective that Monge reaches.
_STOPS = {False: 1e-4, True: 1e-3}
_TIGHTER = 3
# How loose Monge may be to be as good as POT.
_TOLERANCES = (1e-2, 7e-3, 5e-3, 3e-3, 2e-3, 1.5e-3, 1e-3, 7e-4, 5e-4, 3e-4, 2e-4, 1e-4, 1e-5, 1e-6)


def main() -> None:
    """All comparisons."""
    for fraction in (0.05, 0.01):
        for debiased in (False, True):
            pictures("ten digits of 24 x 24", digits(10, 24), fraction, debiased)
            pictures("two pictures of 20 x 20", blobs(2, 20), fraction, debiased)
        line(fraction)


def digits(count: int, side: int) -> Tensor:
    """Handwritten digits, enlarged, with two pixels of margin."""
    images = torch.from_numpy(load_digits().images[:count])[:, None]
    images = pad(interpolate(images, size=(side - 4, side - 4), mode="bilinear")[:, 0], (2, 2, 2, 2))
    return images / images.sum((-1, -2), keepdim=True)


def blobs(count: int, side: int) -> Tensor:
    """Mixtures of three Gaussians."""
    generator, x = torch.Generator().manual_seed(0), torch.arange(side).double()
    centre = side * (0.2 + 0.6 * torch.rand(2, count, 3, 1, generator=generator, dtype=torch.float64))
    width = 1 + 2 * torch.rand(2, count, 3, 1, generator=generator, dtype=torch.float64)
    bell = torch.exp(-(((x - centre) / width) ** 2) / 2)
    images = torch.einsum("kch,kcw->khw", bell[0], bell[1])
    return images / images.sum((-1, -2), keepdim=True)


def pictures(name: str, images: Tensor, fraction: float, debiased: bool) -> None:
    """On a grid; POT's pixels lie between zero and one."""
    side = images.shape[-1]
    grid = Grid((torch.arange(side).double(),) * 2)
    epsilon = fraction * float(grid.mean())
    convolve = ot.bregman.convolutional_barycenter2d_debiased if debiased else ot.bregman.convolutional_barycenter2d
    given = images.numpy()

    def pot(stop: float) -> np.ndarray:
        return convolve(given, epsilon / (side - 1) ** 2, stopThr=stop, numItermax=5000)

    _race(f"{name}, epsilon = {fraction} of the mean cost", grid, images.flatten(-2), epsilon, debiased, pot)


def line(fraction: float, count: int = 10, n: int = 200) -> None:
    """Histograms with two peaks each."""
    generator, x = torch.Generator().manual_seed(0), torch.arange(n).double()
    centre = n * (0.1 + 0.8 * torch.rand(count, 2, 1, generator=generator, dtype=torch.float64))
    bins = torch.exp(-(((x - centre) / (n / 40)) ** 2) / 2).sum(1)
    bins = bins / bins.sum(-1, keepdim=True)
    grid = Grid((x,))
    epsilon = fraction * float(grid.mean())
    given, cost = np.ascontiguousarray(bins.numpy().T), grid.dense().numpy()

    def pot(stop: float) -> np.ndarray:
        return ot.bregman.barycenter(given, cost, epsilon, stopThr=stop, numItermax=5000)

    name = f"ten histograms of {n} bins, epsilon = {fraction} of the mean cost"
    _race(name, grid, bins, epsilon, False, pot)


def _race(
    name: str, grid: Grid, bins: Tensor, epsilon: float, debiased: bool, pot: Callable[[float], np.ndarray]
) -> None:
    """Both at their defaults, Monge as loose as POT, and POT until it reaches Monge's objective or runs out of time."""

    def ours(tol: float | None) -> Tensor:
        return monge.barycenter_on(grid, bins, epsilon=epsilon, debiased=debiased, tol=tol)

    def objective(q: Tensor) -> float:
        return _objective(grid, q.flatten(), bins, epsilon, debiased)

    reached, stop = objective(ours(None)), _STOPS[debiased]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        default = objective(torch.from_numpy(pot(stop)))
        best = default
        for _ in range(_TIGHTER):
            if best <= reached + 1e-6 * abs(reached):
                break
            stop /= 10
            best = objective(torch.from_numpy(pot(stop)))
        # The loosest tolerance that is no worse than what POT finds by itself.
        tol = next(tol for tol in _TOLERANCES if objective(ours(tol)) <= default + 1e-8 * abs(default))
        contestants = {
            "POT": lambda: pot(_STOPS[debiased]),
            f"monge, as good as POT, tol = {tol:.0e}": lambda: ours(tol),
        }
        if stop < _STOPS[debiased]:
            contestants[f"POT, stopThr = {stop:.0e}"] = lambda: pot(stop)
        contestants["monge"] = lambda: ours(None)
        timings = in_turn(contestants, calls=5)
    title = f"{'debiased' if debiased else 'plain'} barycentre of {name}, float64"
    facts = {"objective_of_POT": default, "objective_of_monge": reached, "objective_of_the_tighter_POT": best}
    report("barycenters", title, timings, "POT", **facts)


def _objective(grid: Grid, q: Tensor, bins: Tensor, epsilon: float, debiased: bool) -> float:
    """What the barycentre minimises, with plans of its own: a mean of divergences, or of costs less the entropy."""
    q = q.clamp(min=0) / q.clamp(min=0).sum()
    if debiased:
        places = torch.stack(torch.meshgrid(*(axis.x for axis in grid.axes), indexing="ij"), -1).flatten(0, -2)
        many = places.expand(len(bins), -1, -1)
        return float(monge.divergence(many, many, q.expand(len(bins), -1), bins, epsilon=epsilon).mean())
    values = monge.solve(Linear(grid, q.expand(len(bins), -1), bins, epsilon=epsilon), Newton(tol=1e-8)).value
    return float(values.mean() + epsilon * torch.xlogy(q, q).sum())
