"""Papers that stand alone, each in a room of its own."""

from monge.papers import catalogued

from . import comp_sum

__all__ = ["PAPERS", "comp_sum"]

PAPERS = (
    catalogued(
        "comp-sum",
        implements="monge_papers.tail.comp_sum.comp_sum_loss",
        example="monge_papers.examples.comp_sum",
        test="papers/tests/test_comp_sum_loss.py::test_the_definition",
    ),
)
