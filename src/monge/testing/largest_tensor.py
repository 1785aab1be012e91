"""What an answer is made of: the largest tensor on the way to it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["LargestTensor"]


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned while the block ran, the backward pass included.

    A bound on it says that nothing of size n x m was built, on every machine and whatever the allocator does; scratch
    memory inside of an operation is not seen. `monge.train.peak_bytes` adds up what is alive at once.

    Attributes:
        bytes: Of the memory that the tensor stands on, so that a view counts as what it is a view of.
        numbers: How many entries the tensor has, those of an expanded one included.

    Example:
        >>> import torch
        >>> from monge.geometry import PointCloud
        >>> from monge.testing import LargestTensor
        >>> x = torch.rand(1000, 3)
        >>> with LargestTensor() as largest:
        ...     cost = PointCloud(x, x).mean()
        >>> largest.bytes < 4 * 1000 * 100
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
                self.numbers = max(self.numbers, leaf.numel())
        return out
