"""LUNA: linear attention whose feature map is learned, phi(x) = m^(-1/2) [psi_l(w_i x + beta_i)].

psi is a small network of one number, shared by all projections w_i. Row i of the output is
phi(q_i)^T S / phi(q_i)^T s with the sums S = phi(K)^T V and s = phi(K)^T 1, which a stream carries on.
"""

import torch

from monge.nn.couplers import Luna
from monge.nn.features import LunaFeatures
from monge.nn.functional import feature_step

torch.manual_seed(0)
n, width, m = 50, 8, 6
coupler = Luna(width, projections=m, channels=3).double()
q, k, v = torch.randn(3, 1, 1, n, width, dtype=torch.float64)
features = LunaFeatures(width, projections=m, channels=3).double()
coupler.features = features  # the same map, under a name of its own


def phi(x):
    """The definition: queries and keys are scaled by d^(-1/4), features are kept positive."""
    t = x * width**-0.25 @ features.weight.T + features.bias
    return (features.network(t).relu() + 1e-3).flatten(-2) / m**0.5


kernel = phi(q) @ phi(k).mT
torch.testing.assert_close(coupler.attend(q, k, v), kernel @ v / kernel.sum(-1, keepdim=True))
torch.testing.assert_close(n * coupler(q, k).marginals()[0], torch.ones(1, 1, n, dtype=torch.float64))

# The kernel is positive semidefinite, whatever the weights of the network.
least = torch.linalg.eigvalsh(phi(k) @ phi(k).mT).min()
assert least > -1e-10

# Causal attention is a stream: one token at a time, from a state that does not grow.
state, stream = None, []
for i in range(n):
    token = slice(i, i + 1)
    out, state = feature_step(phi(q)[..., token, :], phi(k)[..., token, :], v[..., token, :], state)
    stream.append(out)
torch.testing.assert_close(torch.cat(stream, -2), coupler.attend(q, k, v, causal=True))

print(f"{n} tokens, {phi(q).shape[-1]} features, least eigenvalue of the kernel {least:.1e}.")
