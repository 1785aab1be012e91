"""How solutions are differentiated."""

from .base import Gradient
from .detached import Detached
from .envelope import Envelope
from .implicit import Implicit
from .modes import MODE_TABLE, MODES
from .table import INPUTS, OUTPUTS, TABLE
from .unrolled import Unrolled

__all__ = [
    "INPUTS",
    "MODES",
    "MODE_TABLE",
    "OUTPUTS",
    "TABLE",
    "Detached",
    "Envelope",
    "Gradient",
    "Implicit",
    "Unrolled",
]
