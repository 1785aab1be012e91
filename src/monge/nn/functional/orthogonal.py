r"""Attention matrices U∘Ū of an orthogonal or unitary U: doubly stochastic without any normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from monge.errors import ShapeError

from ._masks import check_padding
from ._padding import at_least_single, blank, head_factor, precise, scale_of

# Of a sum of a row or a column, which rounding alone never reaches.
_OFF = 5e-5

__all__ = ["cayley_matrix", "circuit_matrix", "qr_matrix"]


@precise
def qr_matrix(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    *,
    shift: float | Float[Tensor, "..."] = 1.0,
    scale: float | None = None,
    padding: Bool[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n n"]:
    r"""$U∘U$ where $U R = s Q K^T + λ I$; cubic time.

    The shift gives the matrix full rank. For more than d tokens, $Q K^T$ alone does not have full rank, and the
    derivative of QR would not exist. The result does not depend on the scale of the columns, but on the order of the
    keys, as in Gram-Schmidt.

    Args:
        q: Queries.
        k: Keys, as many.
        shift: λ, a number or one per head.
        scale: $s$, $d^{-1/2}$ if None.
        padding: True where a token is absent; its row and column are those of the identity.

    Example:
        >>> matrix = qr_matrix(torch.randn(10, 8), torch.randn(10, 8))
        >>> torch.allclose(matrix.sum(0), torch.ones(10), atol=1e-5)
        True

    Source: Born, Skogh, Rhrissorrakrai, Utro, Wagner, Sobczyk, Quantum doubly stochastic transformers, arXiv
    2504.16275.
    """
    q, k = at_least_single(q, k)
    matrix = scale_of(q, scale) * (q @ k.mT)
    identity = torch.eye(q.shape[-2], dtype=q.dtype, device=q.device)
    matrix = _isolate(matrix, padding)
    u, _ = torch.linalg.qr(matrix + head_factor(shift, q) * identity)
    return u * u + _unknown(matrix)


@precise
def cayley_matrix(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    *,
    drift: Float[Tensor, "*b n"] | None = None,
    gain: float | Float[Tensor, "..."] = 1.0,
    scale: float | None = None,
    padding: Bool[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n n"]:
    r"""$O∘O$ of the Cayley transform $O = (I + K)^{-1}(I - K)$, K the skew part of the scores; cubic time.

    It is smooth everywhere, and a permutation of the tokens permutes rows and columns. Symmetric scores give the
    identity; ``drift`` adds the skew matrix α_i - α_j, so that tokens are mixed even then. If scores are too large for
    the dtype, from about 10⁵ in single precision, the matrix is NaN.

    Args:
        q: Queries.
        k: Keys, as many.
        drift: α, one number per token.
        gain: Multiplies K, a number or one per head.
        scale: $s$, $d^{-1/2}$ if None.
        padding: True where a token is absent; it attends to itself alone.

    Example:
        >>> matrix = cayley_matrix(torch.randn(10, 8), torch.randn(10, 8))
        >>> torch.allclose(matrix.sum(0), torch.ones(10), atol=1e-5)
        True
    """
    q, k = at_least_single(q, k)
    scores = scale_of(q, scale) * (q @ k.mT)
    skew = (scores - scores.mT) / 2
    if drift is not None:
        skew = skew + (drift[..., :, None] - drift[..., None, :])
    skew = _isolate(head_factor(gain, q) * skew, padding)
    identity = torch.eye(q.shape[-2], dtype=q.dtype, device=q.device)
    # I + K is never singular, so there is nothing to check and no device to wait for.
    o, _ = torch.linalg.solve_ex(identity + skew, identity - skew)
    # A solve loses as many digits as K has; each step of Newton squares what is missing to orthogonality.
    for _ in range(2):
        o = o @ (1.5 * identity - 0.5 * (o.mT @ o))
    return _measured(o * o)


@precise
def circuit_matrix(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b n d"],
    rotations: Float[Tensor, "*#h l a p 2"],
    phases: Float[Tensor, "*#h l a t 2"],
    mixing: Float[Tensor, "*#h l c t"],
    *,
    scale: float | None = None,
    padding: Bool[Tensor, "*#b n"] | None = None,
) -> Float[Tensor, "*b n n"]:
    r"""|U|² averaged over auxiliary states, U a simulated circuit whose angles are parameters times scores.

    The state space has $a t$ dimensions, for a auxiliary states and t tokens. Layer l does three things: it rotates
    neighbouring tokens by θ·m + φ, in even layers the even pairs and in odd layers the odd ones; it rotates
    neighbouring auxiliary states by fixed angles; and it shifts phases by ω·m + χ. The scores m in layer l are those
    of a token and the token l places after it, so that t layers use all scores. The attention
    $A_{ij} = \frac1a \sum_{bc} |U_{(i,b),(j,c)}|^2$ is doubly stochastic for every parameter.

    Args:
        q: Queries, at most t of them.
        k: Keys, as many.
        rotations: θ and φ of the p = t - 1 pairs of neighbouring tokens in every layer and auxiliary state.
        phases: ω and χ of every state in every layer.
        mixing: Angles of the c = a - 1 pairs of neighbouring auxiliary states in every layer, for every token.
        scale: $s$, $d^{-1/2}$ if None.
        padding: True where a token is absent; it attends to itself alone.

    Example:
        >>> q, k, layers, tokens = torch.randn(10, 8), torch.randn(10, 8), 3, 10
        >>> rotations, phases = torch.randn(layers, 1, tokens - 1, 2), torch.randn(layers, 1, tokens, 2)
        >>> matrix = circuit_matrix(q, k, rotations, phases, torch.zeros(layers, 0, tokens))
        >>> torch.allclose(matrix.sum(0), torch.ones(10), atol=1e-5)
        True

    Source: Born, Skogh, Rhrissorrakrai, Utro, Wagner, Sobczyk, Quantum doubly stochastic transformers, arXiv
    2504.16275, for the idea; the layout of gates is this library's.
    """
    q, k, rotations, phases, mixing = at_least_single(q, k, rotations, phases, mixing)
    n, (layers, ancilla, tokens) = q.shape[-2], phases.shape[-4:-1]
    if n > tokens:
        raise ShapeError(f"The circuit holds {tokens} tokens, but there are {n}: build it with tokens={n}.")
    scores = scale_of(q, scale) * (q @ k.mT)
    # The gates see some of the scores only.
    unknown = _unknown(scores)
    scores = F.pad(_isolate(scores, padding), (0, tokens - n, 0, tokens - n))
    there = blank(torch.ones_like(q[..., :1]), padding)[..., 0]
    there = F.pad(there, (0, tokens - n))
    together = (there[..., 1:] * there[..., :-1])[..., None, :]
    real = torch.eye(ancilla * tokens, dtype=q.dtype, device=q.device).unflatten(0, (ancilla, tokens))
    real = real.expand(*q.shape[:-2], *real.shape)
    state = torch.stack([real, torch.zeros_like(real)])
    for layer in range(layers):
        # Row i of the scores, turned so that its entry `layer` places after i comes first.
        seen = torch.diagonal(scores.roll(-layer - 1, -1), dim1=-2, dim2=-1)[..., None, :]
        theta, phi = rotations[..., layer, :, :, :].unbind(-1)
        state = _turn(state, (theta * seen[..., :-1] + phi) * together, layer % 2, -2)
        if ancilla > 1:
            angle = mixing[..., layer, :, :].mT.expand(*q.shape[:-2], tokens, ancilla - 1)
            state = _turn(state.transpose(-3, -2), angle, layer % 2, -2).transpose(-3, -2)
        omega, chi = phases[..., layer, :, :, :].unbind(-1)
        state = _rotate(*state, (omega * seen + chi)[..., None], 0)
    power = (state * state).sum(0).unflatten(-1, (ancilla, tokens))
    return (power.sum((-4, -2)) / ancilla)[..., :n, :n] + unknown


def _unknown(scores: Tensor) -> Tensor:
    """Zero, or NaN where some score is no number, which a factorisation may not tell."""
    return (scores.detach() * 0.0).sum((-1, -2), keepdim=True)


def _measured(matrix: Tensor) -> Tensor:
    """The matrix, or NaN where it is not doubly stochastic: a skew part beyond the digits of the dtype has none."""
    seen = matrix.detach()
    error = torch.maximum((seen.sum(-1) - 1).abs().amax(-1), (seen.sum(-2) - 1).abs().amax(-1))
    return matrix.masked_fill((error > _OFF)[..., None, None], torch.nan)


def _turn(state: Tensor, angle: Tensor, first: int, dim: int) -> Tensor:
    """Rotate rows (i, i + 1) of ``state`` for every second i from ``first``, by the angle of the pair."""
    size = state.shape[dim]
    pairs = (size - first) // 2
    if pairs == 0:
        return state
    head, body, tail = state.split([first, 2 * pairs, size - first - 2 * pairs], dim)
    upper, lower = body.unflatten(dim, (pairs, 2)).unbind(dim)
    turned = _rotate(upper, lower, angle[..., first : first + 2 * pairs : 2][..., None], dim)
    return torch.cat([head, turned.flatten(dim - 1, dim), tail], dim)


def _rotate(upper: Tensor, lower: Tensor, angle: Tensor, dim: int) -> Tensor:
    """Both, turned into each other by the angle, side by side along a new dimension."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * upper - sin * lower, sin * upper + cos * lower], dim)


def _isolate(matrix: Tensor, padding: Tensor | None) -> Tensor:
    """Zero rows and columns of absent tokens."""
    check_padding(padding)
    if padding is None:
        return matrix
    return matrix.masked_fill(padding[..., :, None] | padding[..., None, :], 0.0)
