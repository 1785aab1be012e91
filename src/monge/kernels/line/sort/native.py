"""The fast twin: NumPy's vectorised sorts on the tensor's own memory, several rows at a time on every thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from ..._extension import FULL_PRECISION, call
from ..._operator import operator
from ..._rules import Rules

__all__ = ["argsort", "sort"]

# Keys that a thread sorts at a time: what its cache holds.
_CHUNK = 2**16


def _each_chunk(work: Callable[[slice], None], x: Tensor) -> None:
    """``work`` on all rows, a few at a time; the loops inside release the interpreter lock."""
    rows, n = x.shape
    step = max(1, _CHUNK // max(n, 1))
    left = iter(range(0, rows, step))

    def help_out() -> None:
        for k in left:
            work(slice(k, min(k + step, rows)))

    # Half a chunk takes as long as a thread to come.
    threads = min(torch.get_num_threads(), rows * n // _CHUNK, -(-rows // step))
    if threads < 2:
        help_out()
        return
    pool = ThreadPoolExecutor(threads - 1)
    helpers = []
    try:
        with suppress(RuntimeError):  # the system starts no more: the work goes on with those that are there
            for _ in range(threads - 1):
                helpers.append(pool.submit(help_out))
        help_out()
        # Who has not come by now is not waited for: a busy machine may let them wait long.
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    finally:
        for _ in left:
            pass
        pool.shutdown(wait=False)


def _run_sort(x: Tensor) -> Tensor:
    # NumPy copies on this thread: torch would wake others, which then are in the way of the sort.
    array = x.detach().numpy().copy()
    _each_chunk(lambda chunk: array[chunk].sort(axis=-1), x)
    return torch.from_numpy(array)


def _run_argsort(x: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = _empty_argsort(x)
    source, sorted_values, places = x.detach().contiguous().numpy(), values.numpy(), indices.numpy()

    def work(chunk: slice) -> None:
        keys = np.empty(source[chunk].shape, dtype=np.uint64)
        call("sort_keys", source[chunk], keys)
        keys.sort(axis=-1)
        call("sorted_places", source[chunk], keys, sorted_values[chunk], places[chunk])

    _each_chunk(work, x)
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
sort = operator(Rules("sort(Tensor[rows n] x) -> Tensor", FULL_PRECISION), _run_sort, _empty_sort)
argsort = operator(
    Rules("argsort(Tensor[rows n] x) -> (Tensor, Tensor)", FULL_PRECISION),
    _run_argsort,
    _empty_argsort,
    setup=_setup,
    backward=_backward,
)
