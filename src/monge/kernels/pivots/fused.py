"""The sides of pivot attention as operators of torch on CUDA tensors; what they run is written in Triton."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from .._operator import operator
from .reference import Side

__all__ = ["mix", "mix_slope", "pack", "slope", "takes", "unpack"]

# Larger tables do not fit the fast memory of one multiprocessor.
WIDEST, MOST = 128, 64
# Looked up here, since a tracing compiler cannot look.
_INSTALLED = importlib.util.find_spec("triton") is not None


def takes(tokens: Sequence[Tensor], pivots: Tensor | None) -> bool:
    """Whether the kernels take these tokens and pivots: in CUDA, in float32 or half precision, not too wide."""
    x = tokens[0]
    fits = (
        x.is_cuda
        and pivots is not None
        and all(t.dtype == x.dtype and 1 <= t.shape[-1] <= WIDEST for t in tokens)
        and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and pivots.dtype == torch.float32
        and pivots.shape[-2] <= MOST
        and all(0 not in t.shape for t in tokens)
    )
    return fits and (_INSTALLED or _missing())


@cache
def _missing() -> bool:
    warnings.warn(
        "Triton is missing, so pivot attention on CUDA runs as plain torch operations, several times slower: install "
        "the package triton.",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


@cache
def _kernels() -> ModuleType:
    return importlib.import_module(".triton", __package__)


_SIDE = "Tensor x, Tensor pivots, Tensor bias, Tensor? keep"


def _sums(bias: Tensor, width: int) -> Tensor:
    return bias.new_empty(*bias.shape, width + 1, dtype=torch.float32)


_pack = operator(
    f"pivot_pack({_SIDE}, Tensor? y) -> Tensor",
    lambda x, pivots, bias, keep, y: _kernels().pack(Side(x, pivots, bias, keep), y),
    fake=lambda x, pivots, bias, keep, y: _sums(bias, 0 if y is None else y.shape[-1]),
    device="CUDA",
)
_unpack = operator(
    f"pivot_unpack({_SIDE}, Tensor table) -> Tensor",
    lambda x, pivots, bias, keep, table: _kernels().unpack(Side(x, pivots, bias, keep), table),
    fake=lambda x, pivots, bias, keep, table: x.new_empty(*x.shape[:-1], table.shape[-1]),
    device="CUDA",
)
_slope = operator(
    f"pivot_slope({_SIDE}, Tensor? y, Tensor? table, Tensor d_use) -> (Tensor, Tensor)",
    lambda x, pivots, bias, keep, y, table, d_use: _kernels().slope(Side(x, pivots, bias, keep), y, table, d_use),
    fake=lambda x, pivots, bias, keep, y, table, d_use: (x.new_empty(x.shape), _sums(bias, x.shape[-1])),
    device="CUDA",
)
_mix = operator(
    "pivot_mix(Tensor use_q, Tensor use_k, Tensor totals) -> Tensor",
    lambda use_q, use_k, totals: _kernels().mix(use_q, use_k, totals),
    fake=lambda use_q, use_k, totals: totals.new_empty(totals.shape),
    device="CUDA",
)
_mix_slope = operator(
    "pivot_mix_slope(Tensor use_q, Tensor use_k, Tensor totals, Tensor d_table) -> (Tensor, Tensor, Tensor)",
    lambda use_q, use_k, totals, d_table: _kernels().mix_slope(use_q, use_k, totals, d_table),
    fake=lambda use_q, use_k, totals, d_table: tuple(t.new_empty(t.shape) for t in (use_q, use_k, totals)),
    device="CUDA",
)


def pack(side: Side, y: Tensor | None, share: None = None) -> tuple[None, Tensor, Tensor]:
    """As `reference.pack`, without an assignment to hand on."""
    del share
    sums = _pack(*side, y)
    return None, sums[..., -1], sums[..., :-1]


def unpack(side: Side, table: Tensor, share: None = None) -> Tensor:
    """As `reference.unpack`."""
    del share
    return _unpack(*side, table)


def slope(
    side: Side, y: Tensor | None, table: Tensor | None, d_use: Tensor, share: None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.slope`."""
    del share
    d_x, sums = _slope(*side, y, table, d_use)
    return d_x, sums[..., :-1], sums[..., -1]


def mix(use_q: Tensor, use_k: Tensor, totals: Tensor) -> Tensor:
    """As `middle.mix`."""
    return _mix(use_q, use_k, totals)


def mix_slope(use_q: Tensor, use_k: Tensor, totals: Tensor, d_table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `middle.mix_slope`."""
    return _mix_slope(use_q, use_k, totals, d_table)
