"""The largest tensor that a computation creates."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["LargestTensor"]


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned while the block ran, the backward pass included.

    If it is small, no n x m matrix was built. This does not depend on the machine or on the allocator; temporary memory
    inside an operation is not counted. `monge.train.peak_bytes` adds the tensors that exist at the same time.

    Attributes:
        bytes: The size of the tensor's storage, so that a view counts as the whole tensor that it belongs to.
        numbers: How many entries the tensor has; an expanded tensor counts with all its entries.

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
