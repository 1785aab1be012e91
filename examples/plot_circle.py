"""
Hours of the day
================

Times of day are points of a circle: 23:50 is close to 0:10. Exact transport on the circle respects this, and its linear
embedding turns distributions of hours into vectors that can be averaged.
"""

# %%
# There are two groups of 400 events each: one around midnight, and one in the morning.
import matplotlib.pyplot as plt
import torch

from monge import kernels
from monge.sliced import circular_wasserstein
from monge.sliced.sphere import circular_barycenter_density, circular_embedding

generator = torch.Generator().manual_seed(0)
night = (0.1 * torch.randn(400, generator=generator) + 23.8) % 24 + 0.9 * torch.randn(400, generator=generator)
morning = 8.5 + 0.7 * torch.randn(400, generator=generator)

around = circular_wasserstein(night, morning, circumference=24.0)
cut = kernels.line_distance(night % 24, morning % 24, p=2.0).sqrt()
print(f"on the circle {around.item():.2f} h, on the line cut at midnight {cut.item():.2f} h")

# %%
# The embedding of a distribution is a function with values on the circle. A path from one embedding to the other, along
# the shorter arc, moves the distribution around the clock. A mean of the two densities would not move anything: one
# would become weaker and the other one stronger.
steps = torch.linspace(0, 1, 5)
first, last = (circular_embedding(hours, circumference=24.0, size=400) for hours in (night, morning))
way = last - first
way = way - way.round()
between = [circular_barycenter_density(first + t * way, bins=144, concentration=200.0) for t in steps]

angle = torch.arange(145) / 144 * 2 * torch.pi
figure, axis = plt.subplots(figsize=(5, 5), subplot_kw={"projection": "polar"})
axis.set_theta_zero_location("N")
axis.set_theta_direction(-1)
for t, density in zip(steps, between, strict=True):
    ring = torch.cat([density, density[:1]]) / 24
    axis.plot(angle, 0.3 + ring, color=plt.cm.plasma(0.85 * t.item()), label=f"{t.item():.2f}")
axis.set_xticks([k * torch.pi / 4 for k in range(8)], [f"{3 * k} h" for k in range(8)])
axis.set_yticks([])
axis.legend(title="way", loc="lower left", bbox_to_anchor=(-0.12, -0.1), fontsize=8)
figure.tight_layout()
