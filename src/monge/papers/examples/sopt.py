"""Sliced optimal partial transport: clouds of any mass, and points that may stay without a partner.

On every line the problem is solved exactly: the cost of the pairs that are matched, plus lambda for every point that is
left, min sum |x_i - y_j|^p + lambda (left of x + left of y). Its mean over lines is a metric between clouds.
"""

import torch

from monge.sliced import directions, sliced_partial_wasserstein, sliced_wasserstein


def on_a_line(x, y, **given):
    """A line is a cloud in one dimension with one direction."""
    x, y = (torch.tensor(side, dtype=torch.float64)[:, None] for side in (x, y))
    return sliced_partial_wasserstein(x, y, theta=torch.ones(1, 1, dtype=torch.float64), **given).cost.item()


# The least cost of matching k = 0, 1, 2, 3 points.
for p, profile in ((1.0, (0, 1, 2, 6)), (2.0, (0, 1, 2, 14)), (3.0, (0, 1, 2, 36))):
    for count, cost in enumerate(profile):
        assert abs(on_a_line((5, -2, 4), (-1, 1, 3), mass=float(count), p=p) - cost) < 1e-12

# With a penalty instead.
x, y = (0, 1, 2, 7), (0.4, 1.1, 9)
for penalty, p, cost in ((0.5, 1.0, 2.0), (0.5, 2.0, 1.67), (2.0, 1.0, 4.5), (2.0, 2.0, 6.17)):
    assert abs(on_a_line(x, y, penalty=penalty, p=p) - cost) < 1e-12

# In space: an outlier that is far on every line costs the penalty and no more; a large penalty matches everything.
generator = torch.Generator().manual_seed(0)
cloud, other = torch.randn(2, 200, 3, generator=generator, dtype=torch.float64)
theta = directions(60, 3, generator=generator, dtype=torch.float64)
theta = theta[theta[:, 0].abs() > 0.1]
outliers = torch.tensor([[1e3, 0, 0], [2e3, 0, 0], [3e3, 0, 0]], dtype=torch.float64)
cost = sliced_partial_wasserstein(cloud, torch.cat([cloud, outliers]), penalty=0.7, theta=theta).cost
torch.testing.assert_close(cost.item(), 3 * 0.7)
whole = sliced_partial_wasserstein(cloud, other, penalty=1e6, theta=theta).cost
torch.testing.assert_close(whole, 200 * sliced_wasserstein(cloud, other, theta=theta).cost)

print(f"Three outliers cost {cost:.2f}, three times the penalty.")
