"""
Outliers: balanced, unbalanced, partial
=======================================

Balanced transport must move every point, also the outliers, and this gives wrong partners to the other points. There
are two remedies: let the marginals be missed at a price (``rho``), or move only a part of the mass (``mass``).
"""

import torch
from matplotlib import pyplot

import monge
from monge.data import gaussian
from monge.plot import links, marginals

generator = torch.Generator().manual_seed(1)
x = torch.cat([gaussian(80, scale=0.5, generator=generator), gaussian(12, scale=0.3, generator=generator) + 5])
y = torch.cat(
    [
        gaussian(80, scale=0.5, generator=generator) + torch.tensor([3.0, -1.0]),
        gaussian(12, scale=0.3, generator=generator) + torch.tensor([-3.0, -6.0]),
    ]
)
# With a small epsilon and large costs, single precision does not have enough digits.
x, y = x.double(), y.double()

plans = {
    "balanced": monge.couple(x, y, epsilon=0.05),
    "unbalanced, rho = 15": monge.couple(x, y, epsilon=0.05, rho=15.0),
    "partial, mass = 0.85": monge.couple(x, y, epsilon=0.05, mass=0.85),
}
figure, panels = pyplot.subplots(1, 3, figsize=(15, 5), layout="constrained")
for (title, P), panel in zip(plans.items(), panels, strict=True):
    links(P, x, y, ax=panel).set_title(f"{title}\nmass moved {float(P.mass):.2f}")

# %%
# These are the marginals that the partial plan really has: it does not move the last twelve points of each side, which
# are the outliers.

uniform = x.new_full((92,), 1 / 92)
picture = marginals(plans["partial, mass = 0.85"], a=uniform, b=uniform)
