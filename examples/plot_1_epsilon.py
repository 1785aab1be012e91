"""
Plans at several epsilons
=========================

The entropy of a plan is a dial between the exact matching and no matching at all. The code does not change with it:
every answer is a coupling.
"""

import torch
from matplotlib import pyplot

import monge
from monge.data import gaussian, moons
from monge.plot import links, plan

generator = torch.Generator().manual_seed(0)
x = moons(120, generator=generator)
y = gaussian(120, scale=0.5, generator=generator) + torch.tensor([3.0, 0.3])

fractions = [0, 0.002, 0.02, 0.2]
figure, panels = pyplot.subplots(2, len(fractions), figsize=(15, 7), layout="constrained")
for fraction, (top, bottom) in zip(fractions, panels.T, strict=True):
    P = monge.couple(x, y, epsilon=monge.relative(fraction) if fraction else 0.0)
    links(P, x, y, ax=top).set_title(f"{type(P).__name__}\nepsilon = {fraction} × mean cost")
    plan(P, rows=x[:, 1].argsort(), columns=y[:, 1].argsort(), ax=bottom).set_title("")

# %%
# An exact plan between equally many uniform points is a bijection. With entropy each point splits its mass among more
# and more partners; at the right the plan has almost forgotten the geometry.

for fraction in fractions[1:]:
    P = monge.couple(x, y, epsilon=monge.relative(fraction))
    print(f"{fraction:5}: transport cost {float(P.transport_cost()):.3f}, entropy {float(P.entropy()):.3f}")
