"""Informative slices: most random lines see little of data in many dimensions, and a number mends that.

If the data fill k of d dimensions, SW_p^p in R^d is C times SW_p^p in R^k, C = G((k+p)/2) G(d/2) / (G(k/2) G((d+p)/2))
with the gamma function G. Dividing by it changes a loss by a constant: with gradient descent this is the learning rate,
and Adam does not see it at all. So plain slices need no other law, only a step that fits.
"""

from math import gamma

import torch

from monge.sliced import directions, sliced_wasserstein

generator = torch.Generator().manual_seed(0)
k, d = 5, 100
x, y = torch.randn(2, 100, k, generator=generator, dtype=torch.float64)
y = y + 1
basis = torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64)).Q

for p in (1.0, 2.0):
    factor = gamma((k + p) / 2) * gamma(d / 2) / (gamma(k / 2) * gamma((d + p) / 2))
    low = sliced_wasserstein(x, y, p=p, slices=1000, generator=generator)
    high = sliced_wasserstein(x @ basis.T, y @ basis.T, p=p, slices=1000, generator=generator)
    assert abs(high.cost - factor * low.cost) < 4 * (high.standard_error + factor * low.standard_error)

low, high = (
    sliced_wasserstein(*clouds, slices=1000, scale="effective", generator=generator).cost
    for clouds in ((x, y), (x @ basis.T, y @ basis.T))
)
assert abs(high / low - 1) < 0.1

theta = directions(d, d, generator=generator, dtype=torch.float64)


def flow(optimizer, scale, **settings):
    """Points that follow the loss for twenty steps."""
    points = (x @ basis.T).requires_grad_()
    descent = optimizer([points], **settings)
    for _ in range(20):
        descent.zero_grad()
        sliced_wasserstein(points, y @ basis.T, theta=theta, scale=scale).cost.backward()
        descent.step()
    return points.detach()


sgd = torch.optim.SGD
torch.testing.assert_close(flow(sgd, None, lr=2000.0), flow(sgd, 40.0, lr=50.0))
adam = torch.optim.Adam
torch.testing.assert_close(flow(adam, None, lr=0.1, eps=1e-30), flow(adam, 40.0, lr=0.1, eps=1e-30))

print(f"SW_2^2 in R^{d}: {high:.3f} when scaled, {low:.3f} in R^{k}; plain it is {factor:.3f} of that.")
