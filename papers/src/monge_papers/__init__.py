"""Papers as combinations of Monge's parts: what is worth running but is no transport, or serves one experiment only."""

from monge import __version__

from . import tail

__all__ = ["__version__", "tail"]
