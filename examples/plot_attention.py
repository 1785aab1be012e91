"""
Attention maps
==============

The same queries and keys under several couplers. Tokens of three topics follow each other, and one token, the twelfth,
is a key that everybody likes: the attention sink of trained models. Softmax lets all queries pile up there. A doubly
stochastic coupler gives every key the same share in all, so that queries have to divide among their topic.
"""

# %%
import torch

from monge.nn.couplers import build
from monge.nn.diagnostics import diagnose
from monge.plot import attention_maps

generator = torch.Generator().manual_seed(4)
topics = torch.randn(3, 16, generator=generator)
x = topics.repeat_interleave(16, 0)
q, k = (x + 0.6 * torch.randn(48, 16, generator=generator) for _ in range(2))
k[12] = 16.0 * torch.linalg.pinv(topics).sum(1)
q, k = q[None], k[None]

# %%
# Pivots placed on tokens stand in for learned ones. Each strip shows what the keys receive in all, in equal shares.
torch.manual_seed(0)
pivots, entropic, prefix = (build(name, 1, 16, pivots=9) for name in ("pivots", "entropic-pivots", "causal-pivots"))
with torch.no_grad():
    for coupler in (pivots, entropic, prefix):
        coupler.locations.copy_(2.0 * k[:, 3::5][:, :9])
couplers = {
    "softmax": build("softmax", 1, 16),
    "Sinkhorn, 5 half-steps": build("sinkhorn", 1, 16),
    "pivots, exact": pivots,
    "pivots, entropic": entropic,
    "expected slices": build("expected-slices", 1, 16, inverse_temperature=40.0),
    "Cayley": build("cayley", 1, 16),
    "linear (elu + 1)": build("linear", 1, 16),
    "pivots, causal": prefix,
}
plans = {name: coupler(q, k).detach()[0] for name, coupler in couplers.items()}
picture = attention_maps(plans)

# %%
# The same in numbers: how uneven the keys are read, how spread a query is, and the rank.
for name, plan in plans.items():
    told = diagnose(plan)
    print(
        f"{name:24} column error {told.column_error:8.1e}   entropy {told.entropy:.2f}   rank {told.rank:2d}"
        f"   largest share {told.sink:.2f}"
    )
