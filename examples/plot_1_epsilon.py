"""
Plans at several epsilons
=========================

Epsilon is the strength of the entropy. With epsilon zero the plan is exact; the larger epsilon is, the more the plan
spreads its mass. The code is the same for every epsilon, because every answer is a coupling.
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
# The exact plan at the left is a bijection, because both clouds have the same number of points and uniform weights.
# With more entropy, each point splits its mass among more partners. At the right, the plan hardly depends on the
# distances between the points any more.

for fraction in fractions[1:]:
    P = monge.couple(x, y, epsilon=monge.relative(fraction))
    print(f"{fraction:5}: transport cost {float(P.transport_cost()):.3f}, entropy {float(P.entropy()):.3f}")
