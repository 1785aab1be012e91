"""The way from a `Pairs` and its vectors to the native kernels: who may go, and how tensors are laid out.

The kernels are operators of ``torch.library`` with rules for fake tensors, autograd and vmap, so that compiled graphs
hold them whole. What torch does not offer to such operators is ``torch.func.grad``; ``torch.autograd.grad`` works, also
around ``torch.vmap``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._load import AVAILABLE
from .pairs import Matrix, Pairs, Points, broadcast

__all__ = ["Call", "Rule", "decode", "encode", "epsilon_of", "native_dtype", "register_vmap", "sum_to"]

_PLAIN = (torch.float32, torch.float64)


class Rule(NamedTuple):
    """A `Pairs` as the flat arguments of an operator."""

    first: Tensor
    second: Tensor | None
    kind: str
    p: float
    power: float


def native_dtype(pairs: Pairs, *tensors: Tensor | None) -> torch.dtype | None:
    """The dtype in which the native kernels would take these tensors, or None if the reference must.

    They read float32 and float64 on the CPU. Points and vectors of lower precision are converted; a stored cost is not,
    since it is as large as everything that streaming avoids.
    """
    if not AVAILABLE or pairs.device.type != "cpu" or 0 in pairs.shape:
        return None
    dtype = torch.promote_types(pairs.dtype, torch.float32)
    for tensor in tensors:
        if tensor is not None:
            if 0 in tensor.shape:
                return None
            dtype = torch.promote_types(dtype, tensor.dtype)
    if dtype not in _PLAIN or (isinstance(pairs, Matrix) and pairs.dtype != dtype) or 0 in pairs.batch_shape:
        return None
    return dtype


def encode(pairs: Pairs, dtype: torch.dtype) -> Rule:
    """The arguments that `decode` reads."""
    if isinstance(pairs, Matrix):
        return Rule(pairs.cost, None, "matrix", 2.0, 2.0)
    return Rule(pairs.x.to(dtype), pairs.y.to(dtype), pairs.kind, float(pairs.p), float(pairs.power))


def decode(first: Tensor, second: Tensor | None, kind: str, p: float, power: float) -> Pairs:
    """The `Pairs` that `encode` wrote."""
    return Matrix(first) if second is None else Points(first, second, kind, p, power)  # type: ignore[arg-type]


def epsilon_of(epsilon: float | Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Epsilon as a tensor with the dimensions of the batch."""
    if isinstance(epsilon, Tensor):
        return epsilon.to(dtype=dtype, device=like.device)
    return torch.tensor(epsilon, dtype=dtype)


class Call:
    """One call of a native kernel: the batch flattened to one dimension, tensors as arrays of their own memory."""

    def __init__(self, rule: Rule, epsilon: Tensor, vectors: Sequence[Tensor], values: Sequence[Tensor] = ()) -> None:
        first, second = rule.first, rule.second
        shapes = [first.shape[:-2], epsilon.shape, *[t.shape[:-1] for t in vectors], *[t.shape[:-2] for t in values]]
        self.batch = broadcast(*shapes) if second is None else broadcast(second.shape[:-2], *shapes)
        self.size = self.batch.numel()
        self.costs = (
            self.flat(_array(first), 2, second is not None),
            None if second is None else self.flat(_array(second), 2),
            rule.kind == "dot",
            rule.p,
            rule.power,
            self.flat(_array(epsilon).astype(np.float64)[..., None], 1),
        )
        self.vectors = [self.flat(_array(t), 1) for t in vectors]
        self.values = [self.flat(_array(t), 2) for t in values]

    def flat(self, array: np.ndarray, core: int, pack: bool = True) -> np.ndarray:
        """``array`` with one batch dimension, of length one if the batch shares it."""
        cut = array.ndim - core
        shape = array.shape[cut:]
        if cut == 0:
            array = array[None]
        elif math.prod(array.shape[:cut]) == 1:
            array = array.reshape(1, *shape)
        elif cut > 1 or array.shape[0] != self.size:
            if array.shape[:cut] != self.batch:
                # A copy, since broadcast arrays are read-only, which the kernels do not accept.
                array = np.broadcast_to(array, (*self.batch, *shape)).copy()
            array = array.reshape(self.size, *shape)
        return np.ascontiguousarray(array) if pack else array

    def output(self, *core: int, dtype: torch.dtype) -> tuple[Tensor, np.ndarray]:
        """An output of this batch, and the array that the kernel writes."""
        out = torch.empty((*self.batch, *core), dtype=dtype)
        return out, out.numpy().reshape(self.size, *core)


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


def sum_to(grad: Tensor, like: Tensor) -> Tensor:
    """``grad`` summed over the dimensions in which ``like`` was broadcast."""
    return grad if grad.shape == like.shape else grad.sum_to_size(like.shape)


def register_vmap(operator: Any, cores: Sequence[int | None]) -> None:
    """Let ``torch.vmap`` add a batch dimension: every tensor argument k has ``cores[k]`` dimensions of its own."""

    def rule(info: Any, in_dims: tuple, *arguments: Any) -> tuple[Any, Any]:
        tensors = [
            (core, argument, where)
            for core, argument, where in zip(cores, arguments, in_dims, strict=True)
            if isinstance(argument, Tensor) and core is not None
        ]
        depth = max(t.ndim - core - (where is not None) for core, t, where in tensors)

        def align(core: int | None, argument: Any, where: int | None) -> Any:
            if where is None or core is None:
                return argument
            moved = argument.movedim(where, 0)
            missing = depth - (moved.ndim - 1 - core)
            return moved.reshape(moved.shape[0], *[1] * missing, *moved.shape[1:])

        aligned = [align(*each) for each in zip(cores, arguments, in_dims, strict=True)]
        out = operator(*aligned)
        return out, 0 if isinstance(out, Tensor) else (0,) * len(out)

    operator.register_vmap(rule)
