"""Differentiable sorting: matrices that say which element takes which rank, softly."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from monge._arrays import working_dtype
from monge._checks import check_batches, check_number
from monge._users_arrays import takes_arrays
from monge.kernels.line import monotone

__all__ = ["lap_sort", "soft_plans", "soft_sort"]


@takes_arrays
def soft_sort(
    scores: Float[Tensor, "*b n"], temperature: float, *, power: float = 2.0, hard: bool = False
) -> Float[Tensor, "*b n n"]:
    r"""Row k is a softmax over elements around the k-th largest score.

    $S_{ki} = \mathrm{softmax}_i(-|s_{[k]} - s_i|^q / t)$. Rows sum to one, columns only in the limit $t \to 0$; where
    column sums matter use `lap_sort`.

    Args:
        scores: One score per element.
        temperature: t > 0, in units of the scores to the power q.
        power: q.
        hard: Whether rows are one-hot in the forward pass; the gradient is that of the soft rows (straight through).

    Source:
        Prillo, Eisenschlos, SoftSort: a continuous relaxation for the argsort operator (2020).

    Example:
        >>> import torch
        >>> soft_sort(torch.tensor([1.0, 3.0, 2.0]), 1e-3).round()
        tensor([[0., 1., 0.],
                [0., 0., 1.],
                [1., 0., 0.]])
    """
    check_number("temperature", temperature, low=0.0, strict=True)
    check_number("power", power, low=0.0, strict=True)
    dtype, scores = scores.dtype, scores.to(working_dtype(scores))
    ordered = scores.sort(dim=-1, descending=True).values
    soft = (-(ordered[..., :, None] - scores[..., None, :]).abs().pow(power) / temperature).softmax(-1)
    if not hard:
        return soft.to(dtype)
    one_hot = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
    return (one_hot + soft - soft.detach()).to(dtype)


@takes_arrays
def lap_sort(scores: Float[Tensor, "*b n"], scale: float) -> Float[Tensor, "*b n n"]:
    r"""A doubly stochastic soft permutation, row k for the k-th largest score.

    With the Laplace distribution function $F$, thresholds $b_k$ solve $\sum_i F((s_i - b_k) / \alpha) = k$, and
    $S_{ki} = F((s_i - b_k)/\alpha) - F((s_i - b_{k-1})/\alpha)$, $b_0 = \infty$, $b_n = -\infty$. Rows and columns
    sum to one by telescoping, at every scale; the thresholds have a closed form between neighbouring scores.

    Args:
        scores: One score per element.
        scale: alpha > 0, in units of the scores: standardise them first.

    Source:
        Struski et al., LapSum: one method to differentiate them all (2025).

    Example:
        >>> import torch
        >>> soft = lap_sort(torch.tensor([1.0, 3.0, 2.0]), 0.5)
        >>> soft.sum(0), soft.sum(1)
        (tensor([1., 1., 1.]), tensor([1., 1., 1.]))
    """
    check_number("scale", scale, low=0.0, strict=True)
    dtype, scores = scores.dtype, scores.to(working_dtype(scores))
    precise = (scores / scale).double()
    # (*b, n - 1, n) in rank order
    reached = _distribution(precise[..., None, :] - _Thresholds.apply(precise)[..., :, None]).to(scores.dtype)
    return (pad(reached, (0, 0, 0, 1), value=1.0) - pad(reached, (0, 0, 1, 0))).to(dtype)


class _Thresholds(torch.autograd.Function):
    """The b_k for k = 1..n-1, which move with the scores so that sum_i F(s_i - b_k) stays k."""

    @staticmethod
    def forward(ctx, scores):
        thresholds = _solve(scores)
        ctx.save_for_backward(scores, thresholds)
        return thresholds

    @staticmethod
    def backward(ctx, upstream):
        scores, thresholds = ctx.saved_tensors
        density = (-(scores[..., None, :] - thresholds[..., :, None]).abs()).exp()
        share = density / density.sum(-1, keepdim=True).clamp_min(1e-300)
        return (share * upstream[..., None]).sum(-2)


def _distribution(gap: Tensor) -> Tensor:
    """F, the Laplace distribution, whose derivative at zero is that of both sides."""
    below = gap <= 0
    tail = torch.where(below, gap, -gap).exp() / 2
    return torch.where(below, tail, 1 - tail)


def _solve(scores: Tensor) -> Tensor:
    """Thresholds b_k, (*b, n - 1), from a quadratic equation in exp(b) between two neighbouring scores."""
    n = scores.shape[-1]
    knots = scores.sort(dim=-1).values
    far = torch.full_like(knots[..., :1], math.inf)
    # Of the scores that lie below a threshold, and of those above it, whatever their number m = 0..n.
    below = torch.cat([-far, torch.logcumsumexp(knots, -1)], -1)  # log sum_{i <= m} exp(s_i)
    above = torch.cat([torch.logcumsumexp(-knots.flip(-1), -1).flip(-1), -far], -1)  # log sum_{i > m} exp(-s_i)
    count = torch.arange(1, n + 1, dtype=scores.dtype, device=scores.device)
    # The sum at knot m: those above contribute 1 - exp(knot - s) / 2, those up to it exp(s - knot) / 2.
    at_knot = (below[..., 1:] - knots).exp() / 2 + (n - count) - (above[..., 1:] + knots).exp() / 2
    wanted = count[:-1].expand(*scores.shape[:-1], n - 1)
    # at_knot falls along the knots: the threshold is beyond all whose sum is still at least k.
    m = torch.searchsorted(-at_knot.contiguous(), -wanted.contiguous(), right=True)
    left, right = below.gather(-1, m), above.gather(-1, m)
    # With u = exp(b): e^left / (2 u) - e^right u / 2 + (n - m) = k, solved in logarithms.
    excess = wanted - (n - m)
    root = (excess.square() + (left + right).exp()).sqrt()
    rising = left - (excess.clamp_min(1) + root).log()
    falling = (root - excess.clamp_max(-1)).log() - right
    found = torch.where(excess > 0, rising, torch.where(excess < 0, falling, (left - right) / 2))
    edges = torch.cat([-far, knots, far], -1)
    return torch.minimum(torch.maximum(found, edges.gather(-1, m)), edges.gather(-1, m + 1))


def soft_plans(u: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Two plans (*b, n, m) with equal weights: one side sorted softly, the other hard, and the other way round.

    ``scale`` is in standard deviations of the scores. Only the order of the scores matters, and in this unit the
    softness stays comparable while a network is trained.
    """
    batch, n, m = check_batches(u=u.shape[:-1], v=v.shape[:-1]), u.shape[-1], v.shape[-1]
    pooled = torch.cat([u.expand(*batch, -1), v.expand(*batch, -1)], -1)
    spread, middle = pooled.std(-1, keepdim=True).clamp_min(1e-12), pooled.mean(-1, keepdim=True)
    u, v = ((pooled - middle) / spread).split([n, m], -1)
    soft_u, soft_v = lap_sort(u, scale).mT / n, lap_sort(v, scale) / m
    if n != m:
        ranks = _ranks(n, m, u)
        soft_u, soft_v = n * soft_u @ ranks, m * ranks @ soft_v
    place_u, place_v = _place(u)[..., :, None], _place(v)[..., None, :]
    shape = (*batch, n, m)
    return soft_u.gather(-1, place_v.expand(shape)), soft_v.gather(-2, place_u.expand(shape))


def _ranks(n: int, m: int, like: Tensor) -> Tensor:
    """The plan between ranks of equal weights."""
    i, j, w = monotone(like.new_full((n,), 1 / n), like.new_full((m,), 1 / m))
    return like.new_zeros(n, m).index_put((i, j), w, accumulate=True)


def _place(scores: Tensor) -> Tensor:
    """The rank of every point, largest first."""
    return scores.detach().argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
