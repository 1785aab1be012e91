"""How solutions are differentiated."""

from .base import Gradient
from .detached import Detached
from .envelope import Envelope
from .implicit import Implicit
from .unrolled import Unrolled

__all__ = ["Detached", "Envelope", "Gradient", "Implicit", "Unrolled"]
