"""
Plans from slices
=================

Both clouds are sorted along a direction, and points of equal rank are partners. This gives a plan with exact marginals,
for the price of two sorts. The mean of the plans of all directions spreads its mass widely. It becomes sharper if cheap
plans have a larger weight, and the plan of the best direction that a search finds is better still.
"""

# %%
import matplotlib.pyplot as plt
import torch

import monge
from monge.geometry import PointCloud
from monge.sliced import Linear, Sliced, best_sliced_plan, directions, expected_sliced_plan, search_direction

generator = torch.Generator().manual_seed(3)
x = torch.randn(40, 2, generator=generator) * torch.tensor([0.4, 1.2])
y = torch.randn(40, 2, generator=generator) * torch.tensor([1.2, 0.4]) + torch.tensor([3.5, 0.0])
geometry = PointCloud(x, y)
slicer = Linear(directions(64, 2, generator=generator))

theta, _ = search_direction(x, y, generator=generator)
plans = {
    "mean of 64 slices": expected_sliced_plan(x, y, slicer=slicer),
    "cheap ones weigh more": expected_sliced_plan(x, y, slicer=slicer, inverse_temperature=60.0),
    "searched direction": best_sliced_plan(x, y, slicer=Linear(theta[None])),
    "optimal": monge.couple(x, y),
}

# %%
# A line is the darker the more mass it carries.
figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), sharex=True, sharey=True)
for axis, (name, plan) in zip(axes, plans.items(), strict=True):
    shown = plan.sparse(mass=0.999)
    for i, j, w in zip(shown.i, shown.j, shown.w, strict=True):
        axis.plot(*torch.stack([x[i], y[j]]).T, color="0.2", alpha=min(1.0, 40 * w.item()), lw=0.8)
    axis.scatter(*x.T, s=14, color="tab:blue", zorder=3)
    axis.scatter(*y.T, s=14, color="tab:orange", zorder=3)
    axis.set_title(f"{name}\ncost {plan.transport_cost(geometry).item():.3f}", fontsize=10)
    axis.axis("off")
figure.tight_layout()

# %%
# The same exists as a solver. Its report says how far the plan can be from the optimum at most, and the optimum need
# not be known for this.
solution = monge.solve(monge.Linear(geometry), Sliced(slices=64))
excess = solution.value - monge.solve(monge.Linear(geometry)).value
print(f"excess cost {excess.item():.3f}, guaranteed to be below {solution.report.duality_gap.item():.3f}")
