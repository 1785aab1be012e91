"""Pictures of couplings; matplotlib is imported when the first one is drawn.

Every function draws into ``ax`` if one is given and into a figure of its own if not, and answers with what it drew
into; ``picture.figure.savefig("plan.png")`` keeps it. No window opens and no global state changes.
"""

from ._canvas import figure
from .attention import attention_maps
from .colours import colour_transfer, palette
from .curves import curves
from .links import links
from .marginals import marginals
from .plan import plan

__all__ = ["attention_maps", "colour_transfer", "curves", "figure", "links", "marginals", "palette", "plan"]
