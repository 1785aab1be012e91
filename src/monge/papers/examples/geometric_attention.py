"""Geometric attention: which pairs exist, how scores become weights, and which sums are anchored.

The anchor decides what the scores cannot say. Row sums (softmax) hide one number per row; a plan, whose rows and
columns are both fixed, hides one number per row and one per column. What is left are the doubly centred scores, and
dot products of width d give them a rank of at most d.
"""

import torch

from monge.nn.diagnostics import double_center, interaction_rank
from monge.nn.functional import anchored_matrix

torch.manual_seed(0)
n, m, width = 12, 9, 3
scores = torch.randn(n, width, dtype=torch.float64) @ torch.randn(width, m, dtype=torch.float64)
rows, columns = torch.randn(n, 1, dtype=torch.float64), torch.randn(1, m, dtype=torch.float64)


def change(anchor, shift):
    """How much the matrix changes when numbers are added to the scores."""
    first, second = (anchored_matrix(held, anchor, tol=1e-13) for held in (scores, scores + shift))
    return (first - second).abs().max()


assert change("row", rows) < 1e-12 < 1e-2 < change("row", columns)
assert change("column", columns) < 1e-12 < 1e-2 < change("column", rows)
assert change("plan", rows + columns) < 1e-10
assert min(change("none", rows), change("none", columns)) > 1e-2

plan = anchored_matrix(scores, "plan", tol=1e-13)
torch.testing.assert_close(plan, anchored_matrix(double_center(scores), "plan", tol=1e-13))
assert interaction_rank(scores + rows + columns) <= width

print(f"A plan of {n} x {m} sees {interaction_rank(scores)} directions of its scores, and no shift of a row or column.")
