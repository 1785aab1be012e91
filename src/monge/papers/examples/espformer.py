"""ESPFormer: attention that sorts queries and keys along every coordinate, and averages the plans that match ranks.

Soft sorting along slice l gives A_l (queries) and B_l (keys), the plan U_l = A_l^T B_l / n and its cost D_l. The
attention is n times the sum of softmax(-tau D)_l U_l. Where sorting becomes hard, it is doubly stochastic.
"""

import torch

from monge.nn.couplers import ExpectedSlices, SoftSlices

torch.manual_seed(0)
n, width, tau = 40, 6, 2.0
q, k = torch.randn(2, 1, 1, n, width, dtype=torch.float64)


def sorting(x, softness):
    """Row r is a soft choice of the token of rank r, (width, n, n)."""
    ranked = x.sort(0, descending=True).values
    return (-(ranked.T[:, :, None] - x.T[:, None, :]).square() / softness).softmax(-1)


def definition(softness):
    x, y = q[0, 0] / width**0.5, k[0, 0] / width**0.5
    plans = sorting(x, softness).mT @ sorting(y, softness) / n
    costs = (plans * torch.cdist(x, y)).sum((-1, -2))
    return ((-tau * costs).softmax(0)[:, None, None] * plans).sum(0)


for softness in (1e-1, 1e-3):
    soft = SoftSlices(tau, softness)(q, k).dense()[0, 0]
    torch.testing.assert_close(soft, definition(softness))
error = (n * soft.sum(0) - 1).abs().max()  # soft sorting has rows that sum to one, but no columns

hard = ExpectedSlices(tau)(q, k)
torch.testing.assert_close(SoftSlices(tau, 1e-12)(q, k).dense(), hard.dense())
for marginal in hard.marginals():
    torch.testing.assert_close(marginal, torch.full_like(marginal, 1 / n))

print(f"Columns miss their sums by {error:.1%} with soft sorting, and by nothing with hard sorting.")
