"""Pairs of noise and data for training loops, beside torchcfm: the plan alone, and the plan beside training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import monge

from ._measure import Timing, in_turn, report

SIZES = ((256, 2), (2048, 2), (256, 784), (4096, 784))


def main() -> None:
    """The plans of one batch, then a training loop that needs one for each step."""
    try:
        from torchcfm.optimal_transport import OTPlanSampler
    except ImportError:
        OTPlanSampler = None
        print("torchcfm is not installed: pip install torchcfm; Monge is timed alone.")
    for n, d in SIZES:
        alone(n, d, None if OTPlanSampler is None else OTPlanSampler("exact"))
    loop(256, 64)
    loop(1024, 64)


def batch(n: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise, and data in eight clusters."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, d, generator=generator) * 3
    data = centres[torch.randint(8, (n,), generator=generator)] + 0.3 * torch.randn(n, d, generator=generator)
    return torch.randn(n, d, generator=generator), data


def alone(n: int, d: int, peer: Any) -> None:
    """Seconds of one exact plan, and the mean cost of the pairs that are drawn from it."""
    x, y = batch(n, d)
    contestants: dict[str, Callable[[], Any]] = {"monge": lambda: monge.couple(x, y)}
    i, j = monge.couple(x, y).pair()
    facts = {"mean cost, monge": f"{pairs_cost(x[i], y[j]):.6g}", "data points used, monge": len(j.unique())}
    if peer is not None:
        np.random.seed(0)
        contestants = {"torchcfm": lambda: peer.get_map(x, y), **contestants}
        facts["mean cost, torchcfm"] = f"{pairs_cost(*peer.sample_plan(x, y)):.6g}"
        facts["data points used, torchcfm"] = len(peer.sample_plan(x, y)[1].unique(dim=0))
        plan = torch.from_numpy(peer.get_map(x, y)).float()
        facts["cost of the plan, torchcfm"] = f"{float((plan * torch.cdist(x, y).square()).sum()):.6g}"
    runs = 3 if n > 2048 else 5
    title = f"one exact plan, {n} points in dimension {d}, float32"
    report("pairing", title, in_turn(contestants, runs=runs), next(iter(contestants)), **facts)


def pairs_cost(x: Tensor, y: Tensor) -> float:
    """The mean squared distance of partners."""
    return float((x - y).square().sum(-1).mean())


def loop(n: int, d: int, steps: int = 30) -> None:
    """Seconds of thirty training steps, without plans, with plans between the steps, and with plans ahead."""

    def given() -> Iterator[tuple[Tensor, Tensor]]:
        yield from (batch(n, d, seed) for seed in range(steps))

    def trained(pairs: Iterator[tuple[Tensor, Tensor]]) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(d + 1, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, d))
        optimizer = torch.optim.Adam(model.parameters())
        for x, y in pairs:
            t = torch.rand(n, 1)
            path = (1 - t) * x + t * y
            loss = (model(torch.cat([path, t], -1)) - (y - x)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def coupled(ahead: int) -> Iterator[tuple[Tensor, Tensor]]:
        for (x, y), plan in monge.couple_ahead(given(), ahead=ahead):
            i, j = plan.pair()
            yield x[i], y[j]

    contestants = {
        "pairs as drawn": lambda: trained(given()),
        "plans between steps": lambda: trained(coupled(0)),
        "plans ahead": lambda: trained(coupled(2)),
    }
    found: dict[str, Timing] = in_turn(contestants, runs=3)
    plans, hidden = (found[name].median - found["pairs as drawn"].median for name in contestants if "plans" in name)
    title = f"{steps} training steps, {n} points in dimension {d}, exact plans"
    report("pairing", title, found, "plans between steps", share_of_the_plans_hidden=f"{1 - hidden / plans:.2f}")
