"""Papers that stand alone, each in a room of its own."""

from monge.papers import Paper

from . import comp_sum

__all__ = ["PAPERS", "comp_sum"]

PAPERS = (
    Paper(
        key="comp-sum",
        title="Cross-Entropy Loss Functions: Theoretical Analysis and Applications",
        arxiv="2304.07288",
        where="monge_papers.tail.comp_sum",
        line=(
            'python -c "import torch; from monge_papers.tail.comp_sum import comp_sum_loss; '
            'print([comp_sum_loss(torch.eye(3), torch.arange(3), order) for order in (0, 1, 1.5, 2)])"'
        ),
    ),
)
