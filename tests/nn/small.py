"""Couplers by name at sizes that suit tests."""

from __future__ import annotations

import torch

from monge.nn.couplers import Coupler, build

OPTIONS = {
    "pivots": {"pivots": 6},
    "entropic-pivots": {"pivots": 6},
    "causal-pivots": {"pivots": 6},
    "performer": {"size": 24},
    "luna": {"projections": 6, "channels": 2, "hidden": 16},
    "circuit": {"tokens": 16, "layers": 3, "ancilla": 2},
    "blend": {"pivots": 6},
    "hybrid": {"pivots": 6, "special": 1},
    "prior": {"frequencies": 3, "hidden": 5},
}
# Forms of a coupler besides the one that its name alone builds.
VARIANTS = {
    "sinkhorn, streamed": ("sinkhorn", {"memory": "linear"}),
    "sinkhorn, implicit": ("sinkhorn", {"n_half": 41, "gradient": "implicit"}),
    "pivots, iterated": ("pivots", {"pivots": 6, "iterations": 2, "learn_epsilon": True}),
    "luna, softplus": ("luna", {"projections": 6, "channels": 2, "hidden": 16, "output": "softplus", "separate": True}),
    "prior of a plan": ("prior", {"inner": "sinkhorn", "frequencies": 3, "hidden": 5}),
    "blend without softmax": ("blend", {"first": "linear", "second": "pivots", "pivots": 6}),
    "hybrid of slices": ("hybrid", {"inner": "expected-slices", "special": 2}),
}
TINY_VARIANTS = {
    "pivots, iterated": {"pivots": 3, "iterations": 2, "learn_epsilon": True},
    "luna, softplus": {"projections": 2, "channels": 2, "hidden": 3, "output": "softplus", "separate": True},
    "prior of a plan": {"inner": "sinkhorn", "frequencies": 2, "hidden": 2},
    "blend without softmax": {"first": "linear", "second": "pivots", "pivots": 3},
}
# Small enough for numerical derivatives of every parameter.
TINY = {
    "luna": {"projections": 2, "channels": 2, "hidden": 3},
    "performer": {"size": 3},
    "pivots": {"pivots": 3},
    "entropic-pivots": {"pivots": 3},
    "causal-pivots": {"pivots": 3},
    "circuit": {"tokens": 6, "layers": 2},
    "blend": {"pivots": 3},
    "hybrid": {"pivots": 3},
    "prior": {"frequencies": 2, "hidden": 2},
}


def make(name: str, heads: int, width: int, *, dtype: torch.dtype = torch.float32, tiny: bool = False) -> Coupler:
    """A coupler in evaluation mode whose parameters are in general position."""
    torch.manual_seed(7)
    options = (TINY if tiny else OPTIONS).get(name, {})
    if name in VARIANTS:
        label, (name, options) = name, VARIANTS[name]
        options = TINY_VARIANTS.get(label, options) if tiny else options
    coupler = build(name, heads, width, **options).to(dtype)
    with torch.no_grad():
        for parameter in coupler.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return coupler.eval()
