"""The picture at the top of README and guide: four couplings, drawn by the lines that are printed below it.

``python docs/home.py`` writes ``docs/_static/home.png``, and ``home-narrow.png`` for narrow screens.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor

import monge
from monge.geometry import Grid
from monge.plot import figure

INK, GREY = "#22223b", "#c3c8d2"
FONT = 15


def ring_and_moons(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A ring, and two half circles beside it."""
    angle = torch.linspace(0, 2 * math.pi, count + 1)[:-1]
    noise = 0.05 * torch.randn(2, count, 2, generator=generator)
    ring = torch.stack([angle.cos(), angle.sin()], -1) + noise[0]
    upper = torch.arange(count) % 2 == 0
    half = math.pi * torch.linspace(0, 1, count)
    moons = torch.where(
        upper[:, None],
        torch.stack([half.cos() + 3.2, half.sin() - 0.2], -1),
        torch.stack([half.cos() + 4.1, 0.2 - half.sin()], -1),
    )
    return ring, moons + noise[1]


def exact(panel, generator: torch.Generator) -> None:
    """A permutation, with its proof."""
    x, y = ring_and_moons(160, generator)
    solution = monge.solve(monge.Linear.between(x.double(), y.double()))
    i, j = solution.coupling.pair(generator=generator)
    hue = torch.atan2(x[:, 1], x[:, 0])
    for one, other in zip(x[i[::4]].tolist(), y[j[::4]].tolist(), strict=True):
        panel.plot(*zip(one, other, strict=True), color=GREY, linewidth=0.6, zorder=0)
    for points in (x[i], y[j]):
        panel.scatter(*points.T, c=hue[i], cmap="hsv", s=14, alpha=0.85, linewidths=0)
    gap = abs(float(solution.report.duality_gap)) / float(solution.value)
    panel.set_title(f"exact plans with a proof\nduality gap {gap:.1g} of the cost", fontsize=FONT, color=INK)


def partial(panel, generator: torch.Generator) -> None:
    """Two spirals with clutter on both sides."""
    turn = torch.linspace(0.5, 3.2, 150) * math.pi
    spiral = torch.stack([turn.cos() * turn, turn.sin() * turn], -1) / 10
    clutter = 2.2 * torch.rand(2, 60, 2, generator=generator) - 1.1
    x = torch.cat([spiral + 0.02 * torch.randn(150, 2, generator=generator), clutter[0]])
    y = torch.cat([spiral + 0.02 * torch.randn(150, 2, generator=generator), clutter[1]]) + torch.tensor([0.04, 0.03])
    P = monge.couple(x.double(), y.double(), mass=150 / 210)
    rows, columns = P.marginals()
    for points, kept, colour in ((x, rows > 1e-9, "#2a6f97"), (y, columns > 1e-9, "#e76f51")):
        panel.scatter(*points[~kept].T, s=9, color=GREY)
        panel.scatter(*points[kept].T, s=9, color=colour)
    panel.set_title("partial plans\nwhat has no partner (grey) stays out", fontsize=FONT, color=INK)


def between_digits(panel) -> None:
    """Barycentres of two digits."""
    data = load_digits()
    images = torch.from_numpy(data.images[[0, 3]]).float()
    images = torch.nn.functional.interpolate(images[:, None], size=(26, 22), mode="bilinear")[:, 0]
    images = torch.nn.functional.pad(images, (5, 5, 3, 3))
    bins = images.flatten(1) / images.flatten(1).sum(1, keepdim=True)
    steps = [
        monge.barycenter_on(Grid((32, 32)), bins, [1 - t, t], epsilon=0.5).reshape(32, 32)
        for t in (0.001, 0.33, 0.67, 0.999)
    ]
    cells = torch.cat([torch.cat(steps[:2], 1), torch.cat(steps[2:], 1)])
    panel.imshow(cells, cmap="bone_r")
    panel.set_title("barycentres on a grid\nthat are not blurred", fontsize=FONT, color=INK)


def attention(panel, generator: torch.Generator) -> None:
    """Attention through pivots: every token is read as much as every other."""
    torch.manual_seed(1)
    layer = monge.nn.Attention(32, heads=1, coupler=monge.nn.couplers.build("pivots", 1, 32, pivots=8))
    tokens = torch.randn(1, 6, 32, generator=generator).repeat_interleave(8, 1)
    tokens = 2.0 * tokens + 0.5 * torch.randn(1, 48, 32, generator=generator)
    P = layer.couple(tokens).detach()
    panel.imshow(P.dense()[0, 0], cmap="YlGnBu")
    rows, columns = P.marginals()
    off = float((rows - 1 / 48).abs().amax() + (columns - 1 / 48).abs().amax()) * 48
    panel.set_title(f"attention in linear time\nall sums are one within {off:.0e}", fontsize=FONT, color=INK)


def drawn(rows: int, width: float, height: float, ratios: list[float] | None) -> Figure:
    """The four panels in one row or in two."""
    generator = torch.Generator().manual_seed(0)
    made = figure(width, height)
    panels = made.subplots(rows, 4 // rows, width_ratios=ratios).flat
    exact(panels[0], generator)
    partial(panels[1], generator)
    between_digits(panels[2])
    attention(panels[3], generator)
    for panel in panels:
        panel.set_aspect("equal")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    return made


def main() -> None:
    folder = Path(__file__).parent / "_static"
    cropped = {"bbox_inches": "tight", "pad_inches": 0.1}
    drawn(1, 17.5, 5.0, [1.6, 1, 1, 1]).savefig(folder / "home.png", dpi=100, **cropped)
    drawn(2, 9.4, 9.8, None).savefig(folder / "home-narrow.png", dpi=80, **cropped)


if __name__ == "__main__":
    main()
