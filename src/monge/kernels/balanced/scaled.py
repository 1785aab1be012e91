r"""Half-steps as matrix scaling, a few heads at a time: one exponential a score, products with vectors for the rest.

With :math:`K = \exp(S - s)`, s the largest score of a row, the half-steps are :math:`u \leftarrow a / Kv` and
:math:`v \leftarrow b / K^T u`, and the values come out as :math:`K(v \odot V) / Kv`. A tile of K stays in cache for the
whole of this, and again in backward, where the derivative of K is one product of few columns,

.. math:: \bar K = \bar N (v \odot [V, 1])^T + \sum_t u_t \bar s_t^T + \sum_t \bar r_t v_{t-1}^T,

with N, r and s the products above. Nothing else of the size of a matrix is kept or made.

Scaling is as exact as the log domain while no entry of K is lost to underflow. Heads whose scores range further than
that go through the logarithmic form, an exponential a step, equally without a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._operator import custom_op
from ..bridge import register_vmap, sum_to
from . import logarithmic
from .reference import balanced_apply_reference

__all__ = ["balanced_apply_scaled", "takes"]

# Scores of one tile: four megabytes of float32.
_TILE = 2**20
# Dimensions of q, k, v, a and b besides those of the batch.
_CORES = (2, 2, 2, 1, 1)
# How far the scores of a row may lie apart: potentials spread as far, and products of all three must not underflow.
_RANGE = {torch.float32: 50.0, torch.float64: 350.0}


def takes(*tensors: Tensor) -> bool:
    """Whether scaling handles these: on the processor, all of one precision."""
    first = tensors[0]
    same = all(t.device.type == "cpu" and t.dtype == first.dtype for t in tensors)
    return same and first.dtype in _RANGE and all(t.numel() for t in tensors)


def balanced_apply_scaled(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int) -> Tensor:
    """As `balanced_apply_reference`."""
    return _balanced(q, k, v, a, b, n_half)[0]


def _batch(q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor) -> torch.Size:
    return torch.broadcast_shapes(*(t.shape[:-2] for t in (q, k, v)), *(t.shape[:-1] for t in (a, b)))


def _flat(batch: torch.Size, inputs: Sequence[Tensor], cores: Sequence[int] = _CORES) -> list[Tensor]:
    """One dimension of the batch, before those that a head has of its own."""
    return [
        t.expand(batch + t.shape[t.ndim - core :]).reshape(batch.numel(), *t.shape[t.ndim - core :])
        for t, core in zip(inputs, cores, strict=True)
    ]


def _tiles(q: Tensor, k: Tensor) -> list[slice]:
    heads = max(1, _TILE // (q.shape[-2] * k.shape[-2]))
    return [slice(start, start + heads) for start in range(0, len(q), heads)]


@custom_op("balanced")
def _balanced(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The output, the scalings before each step on the columns and after it, and which heads were scaled."""
    batch = _batch(q, k, v, a, b)
    q, k, v, a, b = _flat(batch, (q, k, v, a, b))
    out = v.new_empty(*q.shape[:-1], v.shape[-1])
    rows, columns = (w.new_zeros(len(w), n_half // 2, w.shape[-1]) for w in (a, b))
    scaled = torch.zeros(len(q), dtype=torch.bool)
    for tile in _tiles(q, k):
        kernel, largest = _kernel(q[tile], k[tile])
        low = largest.amax(-1) - largest.amin(-1) if n_half % 2 == 0 else 0.0
        ranges = low - kernel.flatten(1).amin(-1).log()
        # Written such that NaN is not within the range.
        scaled[tile] = ok = bool((ranges <= _RANGE[q.dtype]).all())
        if not ok:
            out[tile], rows[tile], columns[tile] = logarithmic.forward(
                q[tile] @ k[tile].mT, v[tile], a[tile], b[tile], n_half
            )
            continue
        right = (b[tile] > 0).to(b.dtype)
        for step in range(n_half // 2):
            if step == 0 and n_half % 2 == 0:
                # The iteration starts at one on unscaled rows; rows of K are scaled already.
                left = torch.exp(largest - largest.amax(-1, keepdim=True)) * (a[tile] > 0)
            else:
                left = _over(a[tile], _times(kernel, right))
            right = _over(b[tile], _times(left, kernel))
            rows[tile, step], columns[tile, step] = left, right
        sums = kernel @ (right[..., None] * v[tile])
        out[tile] = _over(sums, _times(kernel, right)[..., None]) * (a[tile] > 0)[..., None]
    return tuple(t.reshape(batch + t.shape[1:]) for t in (out, rows, columns, scaled))  # type: ignore[return-value]


@_balanced.register_fake
def _shapes(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = _batch(q, k, v, a, b)
    return (
        v.new_empty(*batch, q.shape[-2], v.shape[-1]),
        a.new_empty(*batch, n_half // 2, a.shape[-1]),
        b.new_empty(*batch, n_half // 2, b.shape[-1]),
        a.new_empty(batch, dtype=torch.bool),
    )


@custom_op("balanced_slopes")
def _slopes(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int,
    out: Tensor, rows: Tensor, columns: Tensor, scaled: Tensor, d_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Derivatives by the five inputs, each of the whole batch."""
    batch = _batch(q, k, v, a, b)
    q, k, v, a, b = _flat(batch, (q, k, v, a, b))
    out, rows, columns, scaled, d_out = _flat(batch, (out, rows, columns, scaled, d_out), (2, 2, 2, 0, 2))
    slopes = tuple(t.new_empty(t.shape) for t in (q, k, v, a, b))
    for tile in _tiles(q, k):
        weights, kept = (v[tile], a[tile], b[tile], n_half), (rows[tile], columns[tile])
        if bool(scaled[tile].all()):
            kernel, _ = _kernel(q[tile], k[tile])
            d_scores, *rest = _backward(kernel, *weights, *kept, out[tile], d_out[tile])
        else:
            d_scores, *rest = logarithmic.backward(q[tile] @ k[tile].mT, *weights, *kept, d_out[tile])
        # Thin times matrix, in the order of storage that BLAS is fast at.
        found = (d_scores @ k[tile], _pulled(d_scores, q[tile]), *rest)
        for slope, part in zip(slopes, found, strict=True):
            slope[tile] = part
    return tuple(t.reshape(batch + t.shape[1:]) for t in slopes)  # type: ignore[return-value]


@_slopes.register_fake
def _shapes_of_slopes(*arguments: Any) -> tuple[Tensor, ...]:
    inputs = arguments[:5]
    batch = _batch(*inputs)
    return tuple(t.new_empty(batch + t.shape[t.ndim - core :]) for t, core in zip(inputs, _CORES, strict=True))


def _backward(
    kernel: Tensor, v: Tensor, a: Tensor, b: Tensor, n_half: int,
    rows: Tensor, columns: Tensor, out: Tensor, d_out: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Derivatives by the scores, the values and both weights; overwrites the kernel."""
    start = (b > 0).to(b.dtype)
    steps = n_half // 2
    right = columns[:, steps - 1] if steps else start
    d_a, d_b = torch.zeros_like(a), torch.zeros_like(b)

    d_out = d_out * (a > 0)[..., None]
    total = _times(kernel, right)
    d_sums, d_total = _over(d_out, total[..., None]), _over(-(d_out * out).sum(-1), total)
    pulled = _pulled(kernel, d_sums)
    d_right = (pulled * v).sum(-1) + _times(d_total, kernel)
    d_v = right[..., None] * pulled
    # The derivative of the kernel, as the columns of two thin matrices.
    thin_left, thin_right = [d_sums, d_total[..., None]], [right[..., None] * v, right[..., None]]
    for step in range(steps - 1, -1, -1):
        left, right = rows[:, step], columns[:, step]
        # What a relative change would do: scalings themselves may be very large or small.
        change = d_right * right
        d_b += _over(change, b)
        d_s = -change * _over(right, b)
        thin_left.append(left[..., None])
        thin_right.append(d_s[..., None])
        if step == 0 and n_half % 2 == 0:
            break
        before = columns[:, step - 1] if step else start
        change = _times(kernel, d_s) * left
        d_a += _over(change, a)
        d_r = -change * _over(left, a)
        thin_left.append(d_r[..., None])
        thin_right.append(before[..., None])
        d_right = _times(d_r, kernel)
    return kernel.mul_(torch.cat(thin_left, -1) @ torch.cat(thin_right, -1).mT), d_v, d_a, d_b


def _kernel(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """K and the largest score of every row."""
    scores = q @ k.mT
    largest = scores.amax(-1)
    return scores.sub_(largest[..., None]).exp_(), largest


def _times(x: Tensor, y: Tensor) -> Tensor:
    """A matrix times a vector, or a vector times a matrix; one argument has a dimension less."""
    if len(x) == 1:
        return (x[..., None, :] @ y)[..., 0, :] if x.ndim < y.ndim else (x @ y[..., None])[..., 0]
    # Batched products with vectors are slow in BLAS.
    return (x[..., None] * y).sum(-2) if x.ndim < y.ndim else (x * y[..., None, :]).sum(-1)


def _pulled(matrix: Tensor, x: Tensor) -> Tensor:
    """The transposed matrix times thin x, in the order of storage that BLAS is fast at."""
    return (x.mT @ matrix).mT


def _over(x: Tensor, total: Tensor) -> Tensor:
    """The quotient, zero where there is nothing to divide by."""
    return torch.where(total > 0, x / total, 0.0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.n_half = inputs[5]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *output)


def _derivative(ctx: Any, d_out: Tensor | None, *rest: None) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return (None,) * 6
    inputs, kept = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # For those who differentiate again: the definition, whose derivative has one.
        wanted = [t for t in inputs if t.requires_grad]
        q, k, v, a, b = inputs
        again = balanced_apply_reference(q, k, v, a, b, ctx.n_half)
        slopes = iter(torch.autograd.grad(again, wanted, d_out, create_graph=True))
        return *(next(slopes) if t.requires_grad else None for t in inputs), None
    found = _slopes(*inputs, ctx.n_half, *kept, d_out)
    return *(sum_to(slope, t) for slope, t in zip(found, inputs, strict=True)), None


_balanced.register_autograd(_derivative, setup_context=_setup)
register_vmap(_balanced, (*_CORES, None))
register_vmap(_slopes, (*_CORES, None, 2, 2, 2, 0, 2))
