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
    coupler = build(name, heads, width, **(TINY if tiny else OPTIONS).get(name, {})).to(dtype)
    with torch.no_grad():
        for parameter in coupler.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return coupler.eval()
