"""How solutions are differentiated."""

from .base import Gradient
from .detached import Detached
from .envelope import Envelope
from .implicit import Implicit
from .table import INPUTS, OUTPUTS, TABLE
from .unrolled import Unrolled

__all__ = ["INPUTS", "OUTPUTS", "TABLE", "Detached", "Envelope", "Gradient", "Implicit", "Unrolled"]
