"""LOTFormer: attention of rank r, from queries to a few learned pivots and from the pivots to the keys.

Two entropic plans, P1 from queries to pivots and P2 from pivots to keys, are glued: P = P1 diag(1/p) P2, where p is the
mass of the pivots. After one half-step this is two softmaxes, pack and unpack; at convergence it is doubly stochastic.
"""

import torch

from monge.nn import Attention
from monge.nn.couplers import EntropicPivots

torch.manual_seed(0)
n, width, r = 60, 8, 5
q, k = torch.randn(2, 1, 1, n, width, dtype=torch.float64)  # one sample, one head

once = EntropicPivots(1, width, r, n_half=1).double()
to_pivots = (q @ once.locations.mT / width**0.5).softmax(-1)
to_keys = (once.locations @ k.mT / width**0.5).softmax(-1)
torch.testing.assert_close(n * once(q, k).dense(), to_pivots @ to_keys)

plan = EntropicPivots(1, width, r, n_half=201).double()(q, k)
for marginal in plan.marginals():
    torch.testing.assert_close(marginal, torch.full_like(marginal, 1 / n))
rank = torch.linalg.matrix_rank(plan.dense()).item()
assert rank <= r

# In a network, the coupler takes the place of softmax.
attention = Attention(32, heads=4, coupler=EntropicPivots(4, 8, pivots=r))
out, _ = attention(torch.randn(2, n, 32))
assert out.shape == (2, n, 32)

print(f"A plan of {n} queries and {n} keys, doubly stochastic, of rank {rank}.")
