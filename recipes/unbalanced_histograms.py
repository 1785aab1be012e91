"""
Compare histograms of different mass
====================================

Two histograms have different sums, and something is in one that is not in the other. The task is to find what moved,
what disappeared and what is new. Here they are chromatograms: a substance is a peak, the clock of the instrument
drifts, and the two samples do not hold the same substances.
"""

import numpy as np
import torch

import monge

minutes = np.linspace(0, 30, 600)


def chromatogram(*peaks):
    """The sum of peaks (time, width, height)."""
    return sum(height * np.exp(-(((minutes - centre) / width) ** 2) / 2) for centre, width, height in peaks)


before = chromatogram((4.0, 0.4, 1.0), (9.8, 0.4, 1.6), (14.2, 0.3, 0.8), (18.5, 0.5, 1.2))
after = chromatogram((4.5, 0.4, 1.0), (10.5, 0.4, 1.6), (19.3, 0.5, 1.2), (25.0, 0.5, 0.9))

# %%
# This is the recipe. ``rho`` is the price of a unit of mass that is removed or added. Mass moves at the price of its
# squared distance, so it never moves further than the root of 2 ``rho``: two minutes here.

points = minutes[:, None]
P = monge.couple(points, points, before, after, rho=2.0, penalty="tv")
kept, placed = (side.numpy() for side in P.marginals())
gone, new = before - kept, after - placed
drift = P.barycentric(torch.from_numpy(minutes)).numpy() - minutes  # of the mass that moved

# %%
# The picture shows the first histogram above and the second one upside down below. The lines join bins of the first one
# with the place where their mass goes.

from matplotlib import pyplot

figure, panel = pyplot.subplots(figsize=(12, 5.6), layout="constrained")
blue, red, yellow = "#2a6f97", "#e5594a", "#edb93f"
panel.fill_between(minutes, 0.3 + before, 0.3 + kept, color=red, lw=0, label="disappeared")
panel.fill_between(minutes, 0.3, 0.3 + kept, color=blue, lw=0, label="moved")
panel.fill_between(minutes, -0.3 - after, -0.3 - placed, color=yellow, lw=0, label="new")
panel.fill_between(minutes, -0.3, -0.3 - placed, color=blue, lw=0)
for k in np.flatnonzero(kept > 0.05)[::2]:
    panel.plot([minutes[k], minutes[k] + drift[k]], [0.3, -0.3], color=blue, alpha=0.3, lw=1)
panel.hlines([-0.3, 0.3], 0, 30, color="#8d99ae", lw=0.8)
panel.text(0, 1.7, "before", va="top")
panel.text(0, -1.7, "after")
panel.set(yticks=[], xlim=(0, 30), xlabel="minutes")
panel.spines[["top", "right", "left"]].set_visible(False)
panel.legend(frameon=False, loc="upper right")

# %%
# The peaks were planted. The first one moved by 0.5 minutes, the second by 0.7, and the last by 0.8.

for start, end in ((3, 6), (8, 12), (13, 16), (16, 21)):
    part = (minutes > start) & (minutes < end)
    lost, shift = abs(gone[part].sum() / before[part].sum()), (kept * drift)[part].sum() / kept[part].sum()
    print(f"peak between {start} and {end}: {lost:.0%} is gone" + (f", moved by {shift:.2f}" if lost < 0.5 else ""))

# %%
# An exact answer has a duality gap, which proves that no plan costs less.

tensors = (torch.from_numpy(array) for array in (points, points, before, after))
report = monge.solve(monge.Linear.between(*tensors, rho=2.0, penalty="tv")).report
print(report.status.value, f"The duality gap is {report.duality_gap:.1e}.")

# %%
# The same task with POT
# ----------------------
#
# POT has a general method of descent for this problem. The table has the price of both plans, transport and missed
# mass together, and how far it is above the least price, as a part of it. The histograms have 200 bins.
#
# .. literalinclude:: ../../benchmarks/recipes/unbalanced_histograms.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-unbalanced_histograms.rst
#
# What can go wrong
# -----------------
#
# ``rho`` decides what counts as moved. If it is too large, a peak that disappeared is spread over its neighbours; if
# it is too small, everything is new. With ``penalty="tv"`` a unit of mass is moved as a whole or not at all, and the
# cheapest units are moved: of a peak that shrinks and drifts, the part that is nearest to its new place remains, so
# that its drift looks too small. With ``penalty="kl"``, the default, all units of a peak shrink by the same factor.
# The prices are explained in :doc:`/conventions`. For pictures take a :class:`monge.geometry.Grid`, and ``epsilon=``
# for large ones.
