"""PTLp: signals of any sign are compared by partial transport of their graphs.

A pair of times costs |x - y|^p / beta + |f(x) - g(y)|^p, and a time without a partner costs lambda. For small beta
nothing can move: the value is the mean of min(|f - g|^p, 2 lambda). For a large lambda everything is matched.
"""

import torch

from monge.sliced.partial import partial_transport_lp, sliced_partial_transport_lp

n, penalty = 60, 0.2
time = (torch.arange(n, dtype=torch.float64) + 0.5)[:, None] / n


def bump(centre):
    return torch.exp(-(((time - centre) / 0.06) ** 2)) - 0.5 * torch.exp(-(((time - centre - 0.15) / 0.06) ** 2))


f, g = bump(0.3), bump(0.45)
still = (f - g).square().clamp_max(2 * penalty).mean()
torch.testing.assert_close(partial_transport_lp(f, g, penalty=penalty, beta=1e-9), still)

# A feature that has moved is near, with transport: L2 cannot see how far it went.
near, far = (partial_transport_lp(f, bump(centre), penalty=penalty, beta=1.0) for centre in (0.35, 0.55))
assert near < far

# A burst of a length e changes the value by at most lambda e on each side, however high it is.
burst = f.clone()
burst[20:26] += 1e3
for value in (
    partial_transport_lp(f, burst, penalty=penalty, beta=0.1),
    sliced_partial_transport_lp(f, burst, penalty=penalty, beta=0.1).cost,
):
    assert 0 < value <= 2 * penalty * 6 / n + 1e-12

print(f"A burst of height 1000 adds {value:.4f}, at most {2 * penalty * 6 / n:.4f}; L2 adds {1e6 * 6 / n:.0f}.")
