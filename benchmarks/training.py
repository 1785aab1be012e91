"""Does a balanced coupler train as well as softmax? Handwritten digits as 64 tokens, the same schedule for all.

Read out by a maximum over tokens, and by a mean: the mean of doubly stochastic attention over its queries is the mean
of the values, whatever the attention, so a mean hides most of what such a layer does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monge.nn import Attention
from monge.nn.couplers import build

from ._measure import keep

DIM, HEADS, LAYERS, EPOCHS, BATCH, SEEDS = 32, 4, 2, 12, 64, 3
SHARP = {"epsilon": 0.125}
CHOICES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "softmax": ("softmax", {}, ("maximum", "mean")),
    "sinkhorn": ("sinkhorn", {}, ("maximum",)),
    "pivots": ("pivots", {}, ("maximum", "mean")),
    "pivots, ε = 1/8": ("pivots", SHARP, ("maximum", "mean")),
    "entropic pivots": ("entropic-pivots", {}, ("maximum", "mean")),
    "entropic pivots, ε = 1/8": ("entropic-pivots", SHARP, ("maximum",)),
    "linear (elu + 1)": ("linear", {}, ("maximum",)),
}


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, coupler: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.attention = Attention(DIM, HEADS, build(coupler, HEADS, DIM // HEADS, **options))
        self.first, self.second = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.feed = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform every token."""
        x = x + self.attention(self.first(x))[0]
        return x + self.feed(self.second(x))


class Reader(nn.Module):
    """A small encoder of pixels, each a token with a learned position, read out by a maximum or a mean."""

    def __init__(self, coupler: str, options: dict[str, Any], readout: str) -> None:
        super().__init__()
        self.readout = readout
        self.pixel = nn.Linear(1, DIM)
        self.position = nn.Parameter(0.5 * torch.randn(64, DIM))
        self.blocks = nn.Sequential(*(Block(coupler, options) for _ in range(LAYERS)))
        self.head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the ten digits."""
        x = self.blocks(self.pixel(x[..., None]) + self.position)
        return self.head(x.mean(1) if self.readout == "mean" else x.amax(1))


def main() -> None:
    """Every coupler with the same seeds, splits and schedule; test accuracy after the last step, nothing selected."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)
    rows = []
    for title, (coupler, options, readouts) in CHOICES.items():
        for readout in readouts:
            make = partial(Reader, coupler, options, readout)
            runs = [train(make, images, labels, seed) for seed in range(SEEDS)]
            accuracy, loss = [100 * run[0] for run in runs], [run[1] for run in runs]
            spread = f"{statistics.mean(accuracy):.1f} ± {statistics.stdev(accuracy):.1f}"
            each = ", ".join(f"{one:.1f}" for one in accuracy)
            rows.append([title, readout, spread, each, f"{statistics.mean(loss):.3f}"])
    keep(
        "training",
        f"handwritten digits as 64 tokens, {LAYERS} layers of width {DIM}, {EPOCHS} epochs, {SEEDS} seeds",
        ["coupler", "readout", "test accuracy, %", "by seed", "training loss at the end"],
        rows,
    )


def train(make: Callable[[], nn.Module], images: Tensor, labels: Tensor, seed: int) -> tuple[float, float]:
    """Test accuracy and the mean training loss of the last epoch."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    learn, test = order[:1400], order[1400:]
    torch.manual_seed(seed)
    model = make()
    steps = EPOCHS * (len(learn) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    losses: list[float] = []
    for _ in range(EPOCHS):
        shuffled = learn[torch.randperm(len(learn), generator=generator)]
        losses = []
        for batch in shuffled.split(BATCH)[: len(learn) // BATCH]:
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    with torch.no_grad():
        right = (model.eval()(images[test]).argmax(-1) == labels[test]).float().mean()
    return float(right), statistics.mean(losses)
