"""Differentiable sorting: matrices that say which element takes which rank, softly."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monge._arrays import working_dtype
from monge._checks import check_number
from monge._transforms import transformable

__all__ = ["lap_sort", "soft_sort"]


@transformable
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
        hard: One-hot rows in the forward pass, the soft gradient behind them (straight through).

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


@transformable
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
    dtype, n = scores.dtype, scores.shape[-1]
    scores = scores.to(working_dtype(dtype))
    if n == 1:
        return (torch.ones_like(scores)[..., None] + 0 * scores[..., None]).to(dtype)
    precise = (scores / scale).double()
    # (*b, n - 1, n) in rank order
    reached = _distribution(precise[..., None, :] - _Thresholds.apply(precise)[..., :, None]).to(scores.dtype)
    first, last = torch.zeros_like(reached[..., :1, :]), torch.ones_like(reached[..., :1, :])
    return (torch.cat([reached, last], -2) - torch.cat([first, reached], -2)).to(dtype)


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
    below = torch.logcumsumexp(knots, -1)  # log sum_{i <= m} exp(s_i)
    above = torch.logcumsumexp(-knots.flip(-1), -1).flip(-1)  # log sum_{i >= m} exp(-s_i)
    count = torch.arange(1, n + 1, dtype=scores.dtype, device=scores.device)
    # The sum at knot m: those above contribute 1 - exp(knot - s) / 2, those up to it exp(s - knot) / 2.
    beyond = torch.cat([(above[..., 1:] + knots[..., :-1]).exp(), torch.zeros_like(knots[..., :1])], -1)
    at_knot = (below - knots).exp() / 2 + (n - count) - beyond / 2
    wanted = torch.arange(1, n, dtype=scores.dtype, device=scores.device).expand(*scores.shape[:-1], n - 1)
    # at_knot falls along the knots: the interval is after the last knot whose sum is still at least k.
    place = torch.searchsorted(-at_knot.contiguous(), -wanted.contiguous(), right=True) - 1
    outside = place < 0
    low = place.clamp(0, n - 2)
    left, right = below.gather(-1, low), above.gather(-1, low + 1)
    # With u = exp(b): e^left / (2 u) - e^right u / 2 + (n - m) = k, solved in logarithms.
    excess = wanted - (n - 1 - low).to(scores.dtype)
    root = (excess.square() + (left + right).exp()).sqrt()
    rising = left - (excess.clamp_min(1) + root).log()
    falling = (root - excess.clamp_max(-1)).log() - right
    inside = torch.where(excess > 0, rising, torch.where(excess < 0, falling, (left - right) / 2))
    inside = torch.minimum(torch.maximum(inside, knots.gather(-1, low)), knots.gather(-1, low + 1))
    # Below every score only the upper tail is left: n - exp(b) sum exp(-s) / 2 = k; above all, the lower one.
    under = (2 * (n - wanted)).log() - above[..., :1]
    over = below[..., -1:] - (2 * wanted).log()
    found = torch.where(outside, under, inside)
    return torch.where(place >= n - 1, over, found)
