"""What turns queries and keys into a coupling, one coupler a file; by name, `build`."""

from __future__ import annotations

from typing import Any

from monge._checks import check_choice

from ..functional._heads import Heads
from ._coupler import Coupler, Promise
from ._prefix_coupling import PrefixCoupling
from .blend import Blend
from .causal import CausalPivots
from .hybrid import Hybrid
from .kernel import Kernel, LinearAttention, Luna, Performer
from .orthogonal import QR, Cayley, Circuit
from .pivots import EntropicPivots, Pivots
from .prior import Prior
from .sinkhorn import Sinkhorn
from .slices import ExpectedSlices, SoftSlices
from .softmax import Softmax

__all__ = [
    "QR",
    "Blend",
    "CausalPivots",
    "Cayley",
    "Circuit",
    "Coupler",
    "EntropicPivots",
    "ExpectedSlices",
    "Heads",
    "Hybrid",
    "Kernel",
    "LinearAttention",
    "Luna",
    "Performer",
    "Pivots",
    "PrefixCoupling",
    "Prior",
    "Promise",
    "Sinkhorn",
    "SoftSlices",
    "Softmax",
    "build",
    "names",
    "table",
]

# Every coupler that has a name: its `build` makes it for heads of a width, and the first line of it says what it is.
_COUPLERS: tuple[type[Coupler], ...] = (
    Softmax,
    Sinkhorn,
    Pivots,
    EntropicPivots,
    ExpectedSlices,
    SoftSlices,
    LinearAttention,
    Performer,
    Luna,
    QR,
    Cayley,
    Circuit,
    CausalPivots,
    Blend,
    Hybrid,
    Prior,
)


def names() -> dict[str, type[Coupler]]:
    """Every coupler that `build` and `monge.nn.Attention` know by name.

    Example:
        >>> from monge.nn.couplers import names
        >>> names()["pivots"].promise.source
        'arXiv 2509.23436, exact step of this library'
    """
    return {coupler.name: coupler for coupler in _COUPLERS}


def table() -> str:
    """The promises of every coupler as a table in Markdown.

    Example:
        >>> from monge.nn.couplers import names, table
        >>> len(table().splitlines()) == len(names()) + 2
        True
    """
    head = ("coupler", "exactness", "time", "memory", "padding", "pairs", "causal", "n ≠ m", "gradient", "source")
    rows = [head, ("---",) * len(head)]
    for name, coupler in names().items():
        told = coupler.promise
        rows.append(
            (
                f"`{name}`",
                told.exactness,
                told.time,
                told.memory,
                "yes",
                "yes" if told.pairs else "no",
                told.causal,
                "no" if told.square else "yes",
                told.gradient,
                told.source,
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def build(name: str, heads: int, width: int, **options: Any) -> Coupler:
    """A coupler by its name.

    Args:
        name: One of `names`.
        heads: Heads of the attention.
        width: Width of a head.
        options: Of its class.

    Raises:
        InputError: Unknown ``name``.

    Example:
        >>> from monge.nn.couplers import build
        >>> build("pivots", 2, 8, pivots=4).locations.shape
        torch.Size([2, 4, 8])
    """
    known = names()
    check_choice("coupler", name, known)
    return known[name].build(heads, width, **options)
