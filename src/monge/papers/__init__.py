"""Papers that can be run: a row for each, from this distribution and from every other one that registers some.

A row says what implements a paper, which script shows it at work and asserts an equation of it, and which test verifies
it. The scripts of this distribution are in ``monge.papers.examples``, one a paper.
"""

from .paper import Paper
from .registered import SHELVES, papers
from .rows import CATALOGUE, PAPERS, catalogued

__all__ = ["CATALOGUE", "PAPERS", "SHELVES", "Paper", "catalogued", "papers"]
