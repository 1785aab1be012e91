"""Papers that can be run: a row for each, from this distribution and from every other one that registers some."""

from .paper import Paper
from .registered import SHELVES, papers
from .rows import PAPERS

__all__ = ["PAPERS", "SHELVES", "Paper", "papers"]
