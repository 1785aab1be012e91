"""Measurements of an attention coupling: errors of its marginals, entropy, rank, sinks. `monge.plot` draws it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from monge._value import Value, value
from monge.coupling import Coupling

from .functional import harmonic_mass
from .functional._masks import check_padding
from .functional._padding import shares

__all__ = [
    "Diagnosis",
    "attention_matrix",
    "causal_balance",
    "diagnose",
    "double_center",
    "effective_rank",
    "interaction_rank",
    "marginal_error",
    "rank",
    "row_entropy",
    "sink_share",
]


@value
class Diagnosis(Value):
    """The numbers of `diagnose`, one per problem of the batch.

    Args:
        row_error: Largest deviation of a row sum of the attention matrix from one.
        column_error: Largest deviation of a column sum from n_q/n_k, relative to it.
        entropy: Mean entropy of the rows divided by log n_k; it is one if they are uniform, zero if each reads one key.
        rank: Numerical rank of the attention matrix.
        effective_rank: Exponential of the entropy of its singular values.
        sink: Largest share of all attention that one key receives.

    Example:
        >>> from monge.nn.diagnostics import diagnose
        >>> plan = monge.nn.Attention(16, 2, coupler="pivots").couple(torch.randn(10, 16))
        >>> bool((diagnose(plan).sink < 0.101).all())
        True
    """

    row_error: Float[Tensor, "*b"]
    column_error: Float[Tensor, "*b"]
    entropy: Float[Tensor, "*b"]
    rank: Int[Tensor, "*b"]
    effective_rank: Float[Tensor, "*b"]
    sink: Float[Tensor, "*b"]


def diagnose(
    coupling: Coupling,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> Diagnosis:
    """All measurements of this module at once.

    Args:
        coupling: What a coupler returned, or `monge.nn.Attention.couple`.
        query_padding: True where a query is absent; broadcasts to (*b, n).
        key_padding: True where a key is absent.

    Example:
        >>> import monge, torch
        >>> attention = monge.nn.Attention(32, 4, coupler="pivots")
        >>> told = monge.nn.diagnostics.diagnose(attention.couple(torch.randn(50, 32)))
        >>> bool((told.column_error < 1e-5).all()), tuple(told.rank.shape)
        (True, (4,))
    """
    row_error, column_error = marginal_error(coupling, query_padding, key_padding)
    return Diagnosis(
        row_error=row_error,
        column_error=column_error,
        entropy=row_entropy(coupling, key_padding),
        rank=rank(coupling),
        effective_rank=effective_rank(coupling),
        sink=sink_share(coupling).amax(-1),
    )


def attention_matrix(coupling: Coupling, *, max_bytes: int = 2**30) -> Float[Tensor, "*b n m"]:
    r"""$\mathrm{diag}(1/a) P$ with the row sums that P really has as a; zero rows stay zero.

    Example:
        >>> plan = monge.nn.Attention(16, 2, coupler="pivots").couple(torch.randn(10, 16))
        >>> torch.allclose(attention_matrix(plan).sum(-1), torch.ones(2, 10))
        True
    """
    return shares(coupling.dense(max_bytes=max_bytes))


def marginal_error(
    coupling: Coupling,
    query_padding: Bool[Tensor, "*#b n"] | None = None,
    key_padding: Bool[Tensor, "*#b m"] | None = None,
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Largest |n_q · row sum - 1| and |n_k · column sum - 1| of a coupling over the tokens that are present.

    Mass on padding counts as an error of its own size. Nothing of size n x m is built.

    Example:
        >>> plan = monge.nn.Attention(16, 2, coupler="pivots").couple(torch.randn(10, 16))
        >>> rows, columns = marginal_error(plan)
        >>> bool((columns < 1e-5).all())
        True
    """
    rows, columns = coupling.marginals()
    return _deviation(rows, query_padding), _deviation(columns, key_padding)


def row_entropy(
    coupling: Coupling, key_padding: Bool[Tensor, "*#b m"] | None = None, *, max_bytes: int = 2**25
) -> Float[Tensor, "*b"]:
    """Mean entropy of the rows that have mass, divided by log n_k; zero if there is one key.

    Example:
        >>> from monge.coupling import DenseCoupling
        >>> row_entropy(DenseCoupling(torch.full((4, 4), 1 / 16))).item()
        1.0
    """
    total, used = 0.0, 0.0
    for _, block in coupling.blocks(max_bytes=max_bytes):
        total = total + torch.special.entr(shares(block)).sum((-1, -2))
        used = used + (block.sum(-1) > 0).sum(-1)
    check_padding(key_padding)
    counts = coupling.shape[-1] if key_padding is None else (~key_padding).sum(-1)
    scale = torch.as_tensor(counts, dtype=coupling.dtype, device=coupling.device).clamp_min(1).log()
    return total / torch.as_tensor(used).clamp_min(1) / scale.masked_fill(scale == 0, 1.0)


def rank(coupling: Coupling, *, tol: float | None = None, max_bytes: int = 2**28) -> Int[Tensor, "*b"]:
    """Numerical rank of the attention matrix: singular values above ``tol`` times the largest.

    ``tol`` is max(n, m) times the resolution of the dtype if None.

    Example:
        >>> from monge.coupling import DenseCoupling
        >>> rank(DenseCoupling(torch.full((4, 4), 1 / 16))).item()
        1
    """
    values = torch.linalg.svdvals(attention_matrix(coupling, max_bytes=max_bytes))
    if tol is None:
        tol = max(coupling.shape[-2:]) * torch.finfo(coupling.dtype).eps
    return (values > tol * values[..., :1]).sum(-1)


def effective_rank(coupling: Coupling, *, max_bytes: int = 2**28) -> Float[Tensor, "*b"]:
    """Exponential of the entropy of the singular values of the attention matrix, between one and its rank.

    Example:
        >>> from monge.coupling import PermutationCoupling
        >>> round(effective_rank(PermutationCoupling(torch.tensor([2, 0, 1]))).item(), 4)
        3.0
    """
    values = torch.linalg.svdvals(attention_matrix(coupling, max_bytes=max_bytes))
    return torch.special.entr(values / values.sum(-1, keepdim=True)).sum(-1).exp()


def sink_share(coupling: Coupling) -> Float[Tensor, "*b m"]:
    """The share of all attention that each key receives; a doubly stochastic layer gives each 1/n_k.

    Example:
        >>> from monge.coupling import DenseCoupling
        >>> sink_share(DenseCoupling(torch.tensor([[0.5, 0.0], [0.25, 0.25]])))
        tensor([0.7500, 0.2500])
    """
    return shares(coupling.marginals()[1])


def causal_balance(coupling: Coupling) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Largest and mean relative deviation of the column sums of a causal attention matrix from `harmonic_mass`.

    Example:
        >>> attention = monge.nn.Attention(16, 2, coupler="causal-pivots")
        >>> largest, mean = causal_balance(attention.couple(torch.randn(10, 16)))
        >>> bool((mean <= largest).all())
        True
    """
    rows, columns = coupling.marginals()
    n = columns.shape[-1]
    target = harmonic_mass(n, dtype=columns.dtype).to(columns.device)
    deviation = (n * columns / rows.sum(-1, keepdim=True) / target - 1).abs()
    return deviation.amax(-1), deviation.mean(-1)


def double_center(scores: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b n m"]:
    """Scores less their row and column means, plus the mean of all: the part that changes a plan of fixed marginals.

    If α_i + β_j is added to the scores, a plan with two fixed marginals does not change, and neither does this part.

    Example:
        >>> double_center(torch.tensor([[1.0, 2.0], [3.0, 8.0]]))
        tensor([[ 1., -1.],
                [-1.,  1.]])

    Source: Rosario Freytes, Geometric attention: A regime-explicit operator semantics for transformer attention, arXiv
    2601.11618.
    """
    rows, columns = scores.mean(-1, keepdim=True), scores.mean(-2, keepdim=True)
    return scores - rows - columns + scores.mean((-1, -2), keepdim=True)


def interaction_rank(scores: Float[Tensor, "*b n m"], tol: float = 1e-5) -> Int[Tensor, "*b"]:
    """Rank of the doubly centred scores: singular values above ``tol`` times the largest of the scores themselves.

    Example:
        >>> interaction_rank(torch.arange(4.0)[:, None] + torch.randn(5)).item()
        0
    """
    values = torch.linalg.svdvals(double_center(scores))
    top = torch.linalg.matrix_norm(scores, 2)[..., None]
    return (values > tol * top).sum(-1)


def _deviation(weights: Tensor, padding: Tensor | None) -> Tensor:
    check_padding(padding)
    if padding is None:
        padding = torch.zeros_like(weights, dtype=torch.bool)
    there = (~padding).to(weights.dtype)
    return (weights * there.sum(-1, keepdim=True) - there).abs().amax(-1)
