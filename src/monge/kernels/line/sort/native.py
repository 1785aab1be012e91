"""The fast twin: NumPy's vectorised sorts on the tensor's own memory, several rows at a time on every thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from ..._extension import module
from ..._operator import operator

__all__ = ["argsort", "sort"]

# Keys that a thread sorts at a time: what its cache holds.
_CHUNK = 2**16


def _each_chunk(work: Callable[[slice], None], rows: int, n: int) -> None:
    """``work`` on all rows, a few at a time; the loops inside release the interpreter lock."""
    step = max(1, _CHUNK // max(n, 1))
    chunks = [slice(k, min(k + step, rows)) for k in range(0, rows, step)]
    threads = min(torch.get_num_threads(), len(chunks))
    if threads < 2:
        for chunk in chunks:
            work(chunk)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, chunk) for chunk in chunks]:
            done.result()


def _run_sort(x: Tensor) -> Tensor:
    values = x.detach().clone(memory_format=torch.contiguous_format)
    array = values.numpy()
    _each_chunk(lambda chunk: array[chunk].sort(axis=-1), *x.shape)
    return values


def _run_argsort(x: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = _empty_argsort(x)
    source, sorted_values, places = x.detach().contiguous().numpy(), values.numpy(), indices.numpy()

    def work(chunk: slice) -> None:
        keys = np.empty(source[chunk].shape, dtype=np.uint64)
        module().sort_keys(source[chunk], keys)
        keys.sort(axis=-1)
        module().sorted_places(source[chunk], keys, sorted_values[chunk], places[chunk])

    _each_chunk(work, *x.shape)
    return values, indices


def _empty_sort(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _empty_argsort(x: Tensor) -> tuple[Tensor, Tensor]:
    values = _empty_sort(x)
    return values, torch.empty_like(values, dtype=torch.int64)


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1])


def _backward(ctx, upstream: Tensor, _: Tensor) -> Tensor:
    (indices,) = ctx.saved_tensors
    return torch.zeros_like(upstream).scatter(-1, indices, upstream)


# Sorted rows (rows, n), without a derivative; and with it, and where the values came from.
sort = operator("sort(Tensor x) -> Tensor", _run_sort, _empty_sort)
argsort = operator(
    "argsort(Tensor x) -> (Tensor, Tensor)", _run_argsort, _empty_argsort, setup=_setup, backward=_backward
)
