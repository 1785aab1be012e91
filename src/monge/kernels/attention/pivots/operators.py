"""The sides of pivot attention as operators of torch on CUDA tensors; what they run is written in Triton."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..._operator import operator
from ..._rules import Rules
from .reference import Side

__all__ = ["gradient", "mix", "mix_gradient", "pack", "takes", "unpack"]

# Larger tables do not fit the fast memory of one multiprocessor.
WIDEST, MOST = 128, 64
_DTYPES = torch.float32, torch.bfloat16, torch.float16
# Looked up here, since a tracing compiler cannot look.
_INSTALLED = importlib.util.find_spec("triton") is not None


def takes(tokens: Sequence[Tensor], pivots: Tensor | None) -> bool:
    """Whether the kernels take these tokens and pivots: in CUDA, in float32 or half precision, not too wide."""
    x = tokens[0]
    fits = (
        x.is_cuda
        and pivots is not None
        and all(t.dtype == x.dtype and 1 <= t.shape[-1] <= WIDEST for t in tokens)
        and x.dtype in _DTYPES
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


def _on_cuda(task: str, takes: str, gives: str, fake: Callable[..., Any]) -> Callable[..., Any]:
    """The operator of a function of `triton`, whose first four arguments are a `Side` if ``takes`` begins with one."""
    split = 4 if takes.startswith(_SIDE) else 0

    def run(*given: Any) -> Any:
        side = (Side(*given[:split]),) if split else ()
        return getattr(_kernels(), task)(*side, *given[split:])

    return operator(Rules(f"pivot_{task}({takes}) -> {gives}", _DTYPES), run, fake, device="CUDA")


_SIDE = (
    "Tensor[outer head n d] x, Tensor[outer head r d; float32] pivots, Tensor[outer head r; float32] bias, "
    "Tensor?[outer head n; bool float32 same] unpadded"
)
_USES = (
    "Tensor[outer head r; float32] use_q, Tensor[outer head r; float32] use_k, Tensor[outer head r c; float32] totals"
)


def _sums(bias: Tensor, width: int) -> Tensor:
    return bias.new_empty(*bias.shape, width + 1, dtype=torch.float32)


_pack = _on_cuda(
    "pack",
    f"{_SIDE}, Tensor?[outer head n c] y",
    "Tensor",
    lambda x, z, bias, unpadded, y: _sums(bias, 0 if y is None else y.shape[-1]),
)
_unpack = _on_cuda(
    "unpack",
    f"{_SIDE}, Tensor[outer head r c; float32] table",
    "Tensor",
    lambda x, *rest: x.new_empty(*x.shape[:-1], rest[-1].shape[-1]),
)
_gradient = _on_cuda(
    "gradient",
    f"{_SIDE}, Tensor?[outer head n c] y, Tensor?[outer head r c; float32] table, Tensor[outer head r; float32] d_use",
    "(Tensor, Tensor)",
    lambda x, z, bias, *rest: (x.new_empty(x.shape), _sums(bias, x.shape[-1])),
)
# As `mixing.mix` and `mixing.mix_gradient`.
mix = _on_cuda("mix", _USES, "Tensor", lambda use_q, use_k, totals: totals.new_empty(totals.shape))
mix_gradient = _on_cuda(
    "mix_gradient",
    f"{_USES}, Tensor[outer head r c; float32] d_table",
    "(Tensor, Tensor, Tensor)",
    lambda *given: tuple(t.new_empty(t.shape) for t in given[:3]),
)


def pack(side: Side, y: Tensor | None, _: None = None) -> tuple[None, Tensor, Tensor]:
    """As `reference.pack`, without an assignment to hand on."""
    sums = _pack(*side, y)
    return None, sums[..., -1], sums[..., :-1]


def unpack(side: Side, table: Tensor, _: None = None) -> Tensor:
    """As `reference.unpack`."""
    return _unpack(*side, table)


def gradient(
    side: Side, y: Tensor | None, table: Tensor | None, d_use: Tensor, _: None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.gradient`."""
    d_x, sums = _gradient(*side, y, table, d_use)
    return d_x, sums[..., :-1], sums[..., -1]
