"""
Follow cells over time
======================

Cells are measured at three days, and a cell that is measured is destroyed: no cell is seen twice. The task is to find
who descends from whom, while some kinds of cells divide fast and others die. Unbalanced transport finds the plan
between two days together with the growth of every cell. The plan is then pushed forward, pulled back, and summed up
in a transition matrix.
"""

import numpy as np
import torch

import monge

random = np.random.default_rng(0)
angles = np.array([0.9, 0.0, -0.9])  # three branches leave a stem
numbers = (300, 300, 300), (600, 300, 150), (1200, 300, 75)  # one branch doubles every day, another one halves


def cells(day, counts):
    """One day: cells with ten coordinates, such as principal components, and the branch of each cell."""
    branch = np.repeat(np.arange(3), counts)
    progress = day + random.normal(0, 0.25, len(branch))
    beyond = np.clip(progress - 0.6, 0, None)
    place = np.zeros((len(branch), 10))
    place[:, 0] = progress - beyond * (1 - np.cos(angles[branch]))
    place[:, 1] = beyond * np.sin(angles[branch])
    return place + random.normal(0, 0.12, place.shape), branch


(first, middle, last), (start, halfway, end) = zip(
    *(cells(day, n) for day, n in zip((1, 2, 3), numbers, strict=True)), strict=True
)

# %%
# This is the recipe. ``rho=(0.5, 50.0)`` allows the number of descendants of a cell to differ from the guess, and
# requires every cell of the later day to have an ancestor. At first nothing is known about growth. The growth that one
# plan finds is the guess for the next one.


def plan(x, y):
    growth = np.full(len(x), 1 / len(x))
    for _ in range(3):
        P = monge.couple(x, y, growth, epsilon=monge.relative(0.02), rho=(0.5, 50.0))
        growth = P.marginals()[0] / P.mass
    return P


P, Q = plan(first, middle), plan(middle, last)

upper = torch.from_numpy((start == 0) / 300)  # a group of cells, with equal weights
descendants = Q.T @ (P.T @ upper)  # push forward: where the group is on the last day
kinds = torch.nn.functional.one_hot(torch.from_numpy(end)).double()
fates = P.barycentric(Q.barycentric(kinds))  # pull back: what becomes of every cell of the first day
transitions = torch.stack([fates[start == k].mean(0) for k in range(3)])

# %%
# At the left, the colour of a cell of the first day is a mixture that shows what becomes of it, and the other two days
# are grey. In the middle, the descendants of the upper branch are drawn with areas in proportion to their mass. At the
# right, each row of the transition matrix says what becomes of the cells of a branch.

from matplotlib import pyplot

colours = np.array([[0.16, 0.44, 0.59], [0.93, 0.73, 0.25], [0.91, 0.35, 0.28]])
figure, (left, centre, right) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
for panel in (left, centre):
    panel.scatter(*np.concatenate([middle, last])[:, :2].T, s=6, color="#dddde4", linewidths=0)
    panel.set_aspect("equal")
    panel.axis("off")
left.scatter(*first[:, :2].T, s=12, c=(fates.numpy() @ colours).clip(0, 1), linewidths=0)
left.set_title("the fate of every cell of the first day")
centre.scatter(*first[start == 0, :2].T, s=12, color="#22223b", linewidths=0)
areas = 12 * 1200 * (descendants / descendants.sum()).numpy()
centre.scatter(*last[:, :2].T, s=areas, color=colours[0], linewidths=0)
centre.set_title("the upper branch (dark) and its descendants")
right.imshow(transitions.numpy(), cmap="Blues", vmin=0, vmax=1.2)
for (i, j), share in np.ndenumerate(transitions.numpy()):
    right.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=13, color="white" if share > 0.6 else "#22223b")
names = ["upper", "middle", "lower"]
right.set(xticks=range(3), xticklabels=names, yticks=range(3), yticklabels=names, ylabel="branch on the first day")
right.set_title("transition matrix: branch on the last day")

# %%
# The branches were planted, so that the answer is known. The first line compares the growth that was found with the
# true one. The second line is the mean share of a cell that is sent to its own branch; balanced transport, which must
# send every cell to the same number of descendants, is in the third line.

rates = P.marginals()[0] / P.mass * len(middle)
print(
    "descendants of a cell:", *(f"{rates[start == k].mean():.2f}, true {true};" for k, true in enumerate((2, 1, 0.5)))
)
right_share = fates[range(900), start].mean()
print(f"sent to its own branch: {right_share:.2f}")
B, C = (monge.couple(x, y, epsilon=monge.relative(0.02)) for x, y in ((first, middle), (middle, last)))
print(f"the same with balanced transport: {B.barycentric(C.barycentric(kinds))[range(900), start].mean():.2f}")

# %%
# The same task with POT
# ----------------------
#
# The same three plans between two of the days. The table has the time, the excess of the objective of the last plan
# over the least one, relative to it, and the largest relative error of the growth of a branch.
#
# .. literalinclude:: ../../benchmarks/recipes/cells_over_time.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-cells_over_time.rst
#
# What can go wrong
# -----------------
#
# The guess of growth is repeated three times; with many more repetitions the growth of single cells becomes extreme,
# although the means of the branches stay right. If you know the growth, from the genes of division and death, pass it
# as the weights of the first plan and raise the first number of ``rho``. Prices are in units of the squared distance,
# so scale the coordinates as here, where neighbouring days are about one apart. ``P.barycentric`` gives probabilities
# and leaves growth out; ``P.T @ group`` keeps it. Cells that look alike cannot be told apart by any plan: the middle
# branch mixes with both others, as the matrix shows. See :doc:`/conventions` for ``rho``, and :doc:`/solvers` for
# large problems.
