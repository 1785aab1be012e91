"""
Match clouds with outliers
==========================

Two clouds show the same things, but each has points that are not in the other. The task is to find the pairs, and the
points without a partner. A partial plan moves a part of the mass only, and leaves out what is expensive to match.
"""

import numpy as np
import torch

import monge

random = np.random.default_rng(0)
x = random.uniform(0, 10, (180, 2))
y = x[:150] + 0.15 * np.stack([np.cos(x[:150, 1]), np.sin(x[:150, 0])], 1)  # 150 of the points, moved
y = np.concatenate([y, random.uniform(0, 10, (40, 2))])

# %%
# This is the recipe. Every point weighs one, so that the plan is a list of pairs, and ``mass`` is their number.

P = monge.couple(x, y, np.ones(len(x)), np.ones(len(y)), mass=150)
rows, columns = P.marginals()
row = torch.nonzero(rows > 0.5).squeeze(1)
col = P.rows(row).argmax(1)  # the partner of each of them
without_partner = torch.nonzero(rows < 0.5).squeeze(1), torch.nonzero(columns < 0.5).squeeze(1)

# %%
# The picture shows the pairs. Points without a partner are crosses.

from matplotlib import pyplot

blue, red, yellow = "#2a6f97", "#e5594a", "#edb93f"
figure, panel = pyplot.subplots(figsize=(8, 8), layout="constrained")
for i, j in zip(row, col, strict=True):
    panel.plot(*np.stack([x[i], y[j]]).T, color="#8d99ae", lw=1, zorder=0)
panel.scatter(*x[row].T, s=22, color=blue, label="x")
panel.scatter(*y[col].T, s=22, color=yellow, label="y")
panel.scatter(*x[without_partner[0]].T, s=30, color=blue, marker="x", label="x without partner")
panel.scatter(*y[without_partner[1]].T, s=30, color=red, marker="x", label="y without partner")
panel.set(aspect="equal", xticks=[], yticks=[])
panel.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4)

# %%
# The points were made in the same order, so that every pair can be checked. Without ``mass``, all points of the smaller
# side would need a partner.


def right(row, col):
    """How many pairs belong together."""
    return int(((row == col) & (row < 150)).sum())


forced = monge.linear_assignment(((x[:, None] - y[None]) ** 2).sum(-1))
print(f"partial plan: {right(row, col)} of {len(row)} pairs are right")
print(f"everybody matched: {right(forced.row, forced.col)} of {len(forced.row)} pairs are right")

# %%
# The same task with POT
# ----------------------
#
# Both plans are exact, and POT is faster here. The table shows clouds of 900 and 950 points.
#
# .. literalinclude:: ../../benchmarks/recipes/match_with_outliers.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-match_with_outliers.rst
#
# What can go wrong
# -----------------
#
# ``mass`` is the number of pairs, which you may not know. Then give the price of a point without a partner instead:
# ``rho=r, penalty="tv"`` matches a pair only if its cost is below ``2 * r``. An outlier that happens to lie where a
# partner could be is matched, since only places are compared; add further features as columns. If one cloud is turned
# or shifted as a whole, find the motion first with :func:`monge.registration.rigid`. For matrices of costs, gates of
# allowed pairs and batches there is :func:`monge.linear_assignment`.
