r"""Half-steps on a tile of scores, as matrix scaling: each score is exponentiated once, and then only multiplied.

With :math:`K = \exp(S - s)`, s the largest score of a row, the half-steps are :math:`u \leftarrow a / Kv` and
:math:`v \leftarrow b / K^T u`, and the values come out as :math:`K(v \odot V) / Kv`. The derivative of K is one product
of few columns,

.. math:: \bar K = \bar N (v \odot V)^T + \sum_t u_t \bar s_t^T + \sum_t \bar r_t v_{t-1}^T,

with N, r and s the products above. This is as exact as the log domain while no entry of K is lost to underflow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import quotient

__all__ = ["RANGE", "backward", "forward"]

# How far the scores of a row may lie apart: potentials spread as far, and products of all three must not underflow.
RANGE = {torch.float32: 50.0, torch.float64: 350.0}


def forward(scores: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """What is read, and the scalings of rows before each step on the columns and of columns after it.

    Overwrites the scores; None if they lie too far apart.
    """
    kernel, largest = _kernel(scores)
    ranges = -kernel.flatten(1).amin(-1).log()
    if n_half % 2 == 0:
        ranges += largest.amax(-1) - largest.amin(-1)
    # Written such that NaN is not within the range.
    if not bool((ranges <= RANGE[scores.dtype]).all()):
        return None
    rows, columns = (w.new_zeros(len(w), n_half // 2, w.shape[-1]) for w in (a, b))
    right = (b > 0).to(b.dtype)
    for step in range(n_half // 2):
        if step == 0 and n_half % 2 == 0:
            # The iteration starts at one on unscaled rows; rows of K are scaled already.
            left = torch.exp(largest - largest.amax(-1, keepdim=True)) * (a > 0)
        else:
            left = quotient(a, _times(kernel, right))
        right = quotient(b, _times(left, kernel))
        rows[:, step], columns[:, step] = left, right
    out = quotient(kernel @ (right[..., None] * v), _times(kernel, right)[..., None])
    return out * (a > 0)[..., None], rows, columns


def backward(
    scores: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int,
    rows: Tensor, columns: Tensor, out: Tensor, d_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Derivatives by the scores, the values and both weights; overwrites the scores."""
    kernel, _ = _kernel(scores)
    start = (b > 0).to(b.dtype)
    steps = n_half // 2
    right = columns[:, steps - 1] if steps else start
    d_a, d_b = torch.zeros_like(a), torch.zeros_like(b)

    d_out = d_out * (a > 0)[..., None]
    total = _times(kernel, right)
    d_sums, d_total = quotient(d_out, total[..., None]), quotient(-(d_out * out).sum(-1), total)
    pulled = (d_sums.mT @ kernel).mT
    d_right = (pulled * v).sum(-1) + _times(d_total, kernel)
    d_v = right[..., None] * pulled
    # The derivative of the kernel, as the columns of two thin matrices.
    thin_left, thin_right = [d_sums, d_total[..., None]], [right[..., None] * v, right[..., None]]
    for step in range(steps - 1, -1, -1):
        left, right = rows[:, step], columns[:, step]
        # What a relative change would do: scalings themselves may be very large or small.
        change = d_right * right
        d_b += quotient(change, b)
        d_s = -change * quotient(right, b)
        thin_left.append(left[..., None])
        thin_right.append(d_s[..., None])
        if step == 0 and n_half % 2 == 0:
            break
        before = columns[:, step - 1] if step else start
        change = _times(kernel, d_s) * left
        d_a += quotient(change, a)
        d_r = -change * quotient(left, a)
        thin_left.append(d_r[..., None])
        thin_right.append(before[..., None])
        d_right = _times(d_r, kernel)
    return kernel.mul_(torch.cat(thin_left, -1) @ torch.cat(thin_right, -1).mT), d_v, d_a, d_b


def _kernel(scores: Tensor) -> tuple[Tensor, Tensor]:
    """K in the place of the scores, and the largest score of every row."""
    largest = scores.amax(-1)
    return scores.sub_(largest[..., None]).exp_(), largest


def _times(x: Tensor, y: Tensor) -> Tensor:
    """A matrix times a vector, or a vector times a matrix; one argument has a dimension less."""
    if len(x) == 1:
        return (x[..., None, :] @ y)[..., 0, :] if x.ndim < y.ndim else (x @ y[..., None])[..., 0]
    # Batched products with vectors are slow in BLAS.
    return (x[..., None] * y).sum(-2) if x.ndim < y.ndim else (x * y[..., None, :]).sum(-1)
