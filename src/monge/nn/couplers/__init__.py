"""What turns queries and keys into a coupling, one coupler a file; by name, `build`."""

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
from .registered import COUPLERS, build, names, table
from .sinkhorn import Sinkhorn
from .slices import ExpectedSlices, SoftSlices
from .softmax import Softmax

__all__ = [
    "COUPLERS",
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

COUPLERS.register("softmax", Softmax, "Softmax attention: mass spread by an exponential of scores, no price on keys.")
for _coupler in (
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
):
    COUPLERS.register(_coupler.name, _coupler)
