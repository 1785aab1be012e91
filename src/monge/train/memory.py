"""How much memory one step takes, and how to return unused memory to the system."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["give_back", "peak_bytes"]

try:
    _trim: Callable[[int], int] | None = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError, TypeError):  # another C library: nothing to be done, and often nothing to do
    _trim = None


def give_back() -> None:
    """Return free memory of the process to the system, where the C library can.

    Batches of different lengths leave unused pieces of memory of different sizes, and glibc keeps them. For this reason
    a long run on the CPU used fifteen gigabytes while its tensors needed half a gigabyte.
    """
    if _trim is not None:
        _trim(0)


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """The most bytes of tensors that a call holds at the same time, beyond the tensors that existed before.

    On CUDA the allocator counts them. Elsewhere the outputs of every operation are followed until they are freed, so
    that the answer does not depend on what the process did before; temporary memory inside an operation is not counted.

    Args:
        run: what to measure.
        device: where it runs.

    Example:
        >>> import torch
        >>> from monge.train.memory import peak_bytes
        >>> x = torch.zeros(100, dtype=torch.float64)
        >>> peak_bytes(lambda: ((x + 1) * 2).sum(), torch.device("cpu"))
        1600
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Ledger() as ledger:
        run()
    return ledger.peak


class _Ledger(TorchDispatchMode):
    """Follows every storage that an operation makes until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._note((args, kwargs), new=False)
        out = function(*args, **(kwargs or {}))
        self._note(out, new=True)
        return out

    def _note(self, tree: Any, *, new: bool) -> None:
        for leaf in pytree.tree_leaves(tree):
            if not isinstance(leaf, Tensor):
                continue
            storage = leaf.untyped_storage()
            key = storage._cdata
            if key not in self._known:
                self._known.add(key)
                size = storage.nbytes() if new else 0
                self.held += size
                self.peak = max(self.peak, self.held)
                weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size
