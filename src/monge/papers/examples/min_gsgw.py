"""Min-GSGW: clouds in different spaces, coupled by learned scores so that distances within them agree.

A lift h takes the first space into the second, a slicer f gives scores f(h(x)) and f(y), and their order is the plan.
Its Gromov-Wasserstein loss is an upper bound for every h and f, and rigid motions do not change it. At the lift that is
the isometry of the clouds the loss is zero, and so is its gradient.
"""

import torch

from monge.sliced import gromov_cost, rotations
from monge.sliced.gromov import GromovSlicer
from monge.sliced.plan import sine_network

torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
turn = rotations(1, 3, generator=generator)[0].double()
y = x @ turn - 2

lift = torch.nn.Linear(3, 3, dtype=torch.float64)
with torch.no_grad():
    lift.weight.copy_(turn.T)
    lift.bias.fill_(-2)
truth = GromovSlicer(sine_network(3).double(), lift)
assert gromov_cost(truth.couple(x, y), x, y) < 1e-10
loss = truth.loss(x, y, 1e-4)
gradients = torch.autograd.grad(loss, list(truth.parameters()))
assert max(gradient.abs().max() for gradient in gradients) < 1e-6

# From the plane into space, without a truth that is known: training lowers an upper bound.
flat = torch.randn(30, 2, generator=generator, dtype=torch.float64)
space = torch.cat([flat, 0.2 * flat[:, :1] ** 2], -1) @ turn
slicer = GromovSlicer(dimensions=(2, 3)).double()
before = gromov_cost(slicer.couple(flat, space), flat, space)
slicer.fit(flat, space, steps=60, restarts=2, generator=generator)
plan = slicer.couple(flat, space)
after = gromov_cost(plan, flat, space)
assert after < before
for marginal in plan.marginals():
    torch.testing.assert_close(marginal, torch.full_like(marginal, 1 / 30))
moved = gromov_cost(plan, flat + 7, space @ turn)
torch.testing.assert_close(moved, after)

print(f"Loss {before:.2f} before and {after:.2f} after training, {moved:.2f} after a rigid motion.")
