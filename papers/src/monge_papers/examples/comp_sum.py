"""Comp-sum losses: one family from the sum of exponentials to the mean absolute error, with cross-entropy in it.

With c = -log softmax(h)_y, the loss of order tau is expm1((1 - tau) c) / (1 - tau), and c itself at order 1. The order
says how strongly a wrong label pulls; how many more errors a small loss allows is bounded.
"""

import torch

from monge_papers.tail.comp_sum import comp_sum_loss, least_risk, zero_one_bound

generator = torch.Generator().manual_seed(0)
scores = 3 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
labels = torch.randint(5, (200,), generator=generator)
chance = scores.softmax(-1).gather(-1, labels[:, None])[:, 0]
definitions = {0.0: 1 / chance - 1, 1.0: -chance.log(), 1.5: (1 - chance.sqrt()) / 0.5, 2.0: 1 - chance}

means = {}
for order, definition in definitions.items():
    losses = comp_sum_loss(scores, labels, order, reduction="none")
    torch.testing.assert_close(losses, definition)
    means[order] = losses.mean().item()
assert list(means.values()) == sorted(means.values(), reverse=True)  # every sample falls as the order grows
torch.testing.assert_close(comp_sum_loss(scores, labels), torch.nn.functional.cross_entropy(scores, labels))
near = comp_sum_loss(scores, labels, 1 + 1e-7)
torch.testing.assert_close(near, comp_sum_loss(scores, labels), rtol=1e-5, atol=0)

# Labels that are random: the excess of the loss over the least risk bounds the excess of errors.
truth = torch.tensor([0.45, 0.35, 0.1, 0.05, 0.05], dtype=torch.float64)
for order in (0.5, 1.0, 1.5, 2.0):
    losses = [comp_sum_loss(scores, torch.full((200,), k), order, reduction="none") for k in range(5)]
    risk = torch.stack(losses, -1) @ truth
    errors = truth.max() - truth[scores.argmax(-1)]
    assert (errors <= zero_one_bound(risk - least_risk(truth, order), order, 5) + 1e-12).all()

print("Mean losses by order: " + ", ".join(f"{order}: {mean:.3f}" for order, mean in means.items()) + ".")
