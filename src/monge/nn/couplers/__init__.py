"""What turns queries and keys into a coupling, one coupler a file; by name, `build`."""

from __future__ import annotations

from typing import Any

from ..._checks import check_choice
from ._base import Coupler, Promise
from ._prefix import PrefixCoupling
from .causal import CausalPivots
from .kernel import Kernel, Linear, Luna, Performer
from .pivots import EntropicPivots, Pivots
from .sinkhorn import Sinkhorn
from .softmax import Softmax

__all__ = [
    "CausalPivots",
    "Coupler",
    "EntropicPivots",
    "Kernel",
    "Linear",
    "Luna",
    "Performer",
    "Pivots",
    "PrefixCoupling",
    "Promise",
    "Sinkhorn",
    "Softmax",
    "build",
    "names",
]

_COUPLERS: tuple[type[Coupler], ...] = (
    Softmax,
    Sinkhorn,
    Pivots,
    EntropicPivots,
    Linear,
    Performer,
    Luna,
    CausalPivots,
)


def names() -> dict[str, type[Coupler]]:
    """Every coupler that `build` and `monge.nn.Attention` know by name."""
    return {coupler.name: coupler for coupler in _COUPLERS}


def build(name: str, heads: int, width: int, **options: Any) -> Coupler:
    """A coupler by its name, for so many heads of such a width; options as in its class."""
    known = names()
    check_choice("coupler", name, known)
    return known[name].build(heads, width, **options)
