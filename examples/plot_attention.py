"""
Attention maps
==============

The pictures show the attention of several couplers for the same queries and keys. The tokens of three topics follow
each other, and the key of token 12 has high scores with all queries, like the attention sinks of trained models. With
softmax, all queries read this token. A doubly stochastic coupler gives every key the same total share, so that the
queries divide their attention among the keys of their topic.
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
# The pivots are placed on tokens; a trained model would have learned them. The strip at each map shows how much every
# key receives in total, as a multiple of an equal share.
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
# The same in numbers: the largest error of a column (how unequally the keys are read), the entropy of the rows (how
# widely a query spreads its attention), the rank, and the largest share that one key receives.
for name, plan in plans.items():
    told = diagnose(plan)
    print(
        f"{name:24} column error {told.column_error:8.1e}   entropy {told.entropy:.2f}   rank {told.rank:2d}"
        f"   largest share {told.sink:.2f}"
    )
