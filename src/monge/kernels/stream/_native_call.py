"""The one way from costs, vectors and values to a native loop, as an operator that torch knows.

The loops read arrays with one dimension of batch, of length one where the batch shares something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, working_dtype

from .. import _extension
from .._extension import FULL_PRECISION, module
from .._operator import operator, save_all, sum_to
from .pairs import Matrix, Pairs, Points

__all__ = ["Arrays", "Cost", "epsilon_of", "loop", "native_dtype"]


class Cost(NamedTuple):
    """A `Pairs` as arguments of an operator."""

    first: Tensor
    second: Tensor | None
    kind: str
    p: float
    power: float

    @classmethod
    def of(cls, pairs: Pairs, dtype: torch.dtype) -> Cost:
        """The arguments, with points in ``dtype``."""
        if isinstance(pairs, Matrix):
            return cls(pairs.cost, None, "matrix", 2.0, 2.0)
        return cls(pairs.x.to(dtype), pairs.y.to(dtype), pairs.kind, float(pairs.p), float(pairs.power))

    @property
    def pairs(self) -> Pairs:
        """The costs again."""
        return Matrix(self.first) if self.second is None else Points(*self)  # type: ignore[arg-type]


_COST = "Tensor first, Tensor? second, str kind, float p, float power"


def native_dtype(pairs: Pairs, *tensors: Tensor | None) -> torch.dtype | None:
    """The dtype in which the native loops would take these tensors, or None if the reference must.

    They read float32 and float64 on the CPU. Points and vectors of lower precision are converted; a stored cost is not,
    since it is as large as everything that streaming avoids.
    """
    if not _extension.AVAILABLE or pairs.device.type != "cpu" or 0 in pairs.shape or 0 in pairs.batch_shape:
        return None
    if any(tensor is not None and 0 in tensor.shape for tensor in tensors):
        return None
    dtype = working_dtype(pairs, *tensors)
    if dtype not in FULL_PRECISION or (isinstance(pairs, Matrix) and pairs.dtype != dtype):
        return None
    return dtype


def epsilon_of(epsilon: float | Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Epsilon as a tensor with the dimensions of the batch."""
    if isinstance(epsilon, Tensor):
        return epsilon.to(dtype=dtype, device=like.device)
    return torch.tensor(epsilon, dtype=dtype)


class Arrays:
    """What one call hands to C++: the batch flattened to one dimension, tensors as arrays of their own memory."""

    def __init__(self, cost: Cost, tensors: Sequence[Tensor], cores: Sequence[int]) -> None:
        self.batch = _batch(cost, tensors, cores)
        self.size = self.batch.numel()
        first, second, kind, p, power = cost
        *held, epsilon = tensors
        self.given = (
            self._flat(_array(first), 2, second is not None),
            None if second is None else self._flat(_array(second), 2),
            kind == "dot",
            p,
            power,
            self._flat(_array(epsilon).astype(np.float64)[..., None], 1),
            *(self._flat(_array(tensor), core) for tensor, core in zip(held, cores, strict=False)),
        )

    def _flat(self, array: np.ndarray, core: int, pack: bool = True) -> np.ndarray:
        """``array`` with one dimension of batch, of length one if the batch shares it."""
        cut = array.ndim - core
        shape = array.shape[cut:]
        if cut == 0:
            array = array[None]
        elif math.prod(array.shape[:cut]) == 1:
            array = array.reshape(1, *shape)
        elif cut > 1 or array.shape[0] != self.size:
            if array.shape[:cut] != self.batch:
                # A copy, since broadcast arrays are read-only, which the loops do not accept.
                array = np.broadcast_to(array, (*self.batch, *shape)).copy()
            array = array.reshape(self.size, *shape)
        return np.ascontiguousarray(array) if pack else array


def _array(tensor: Tensor) -> np.ndarray:
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


def _batch(cost: Cost, tensors: Sequence[Tensor], cores: Sequence[int]) -> torch.Size:
    shapes = [tensor.shape[: tensor.ndim - core] for tensor, core in zip(tensors, cores, strict=True)]
    if cost.second is not None:
        shapes.append(cost.second.shape[:-2])
    return broadcast_shapes(cost.first.shape[:-2], *shapes)


def loop(
    name: str,
    reads: str,
    writes: str,
    derivative: Callable[..., Sequence[Any]] | None = None,
    *,
    counted: bool = False,
) -> Callable[..., Any]:
    """The loop of that name as an operator of a `Cost`, what it reads, epsilon, and if counted a number k.

    Args:
        name: Of the loop and of the operator.
        reads: Names and dimensions of tensors, such as ``"col:m v:mk"``; n and m count rows and columns, d coordinates,
            k the columns of values.
        writes: Dimensions of the outputs; ``i`` before them for whole numbers, ``e`` alone for one float64.
        derivative: ``derivative(cost, tensors, outputs, gradients, needs)`` gives the gradients along the first and
            second tensor of the cost and along ``tensors``, epsilon among them; they may be broadcast, or more than
            what is needed.
        counted: Whether it takes k.
    """
    names, cores = zip(*((part.split(":")[0], len(part.split(":")[1])) for part in reads.split()), strict=True)
    cores, count = (*cores, 0), len(cores) + 1
    values = next((k for k, core in enumerate(cores) if core == 2), None)
    taken = ", ".join(f"Tensor {each}" for each in (*names, "epsilon"))
    given = ", ".join(["Tensor"] * len(writes.split()))
    signature = f"{name}({_COST}, {taken}{', int k' if counted else ''}) -> {f'({given})' if ',' in given else given}"

    def outputs(cost: Cost, tensors: Sequence[Tensor], k: Sequence[int], batch: torch.Size) -> Iterator[Tensor]:
        sizes = dict(zip("nd", cost.first.shape[-2:], strict=True), e=1)
        sizes["m"] = cost.first.shape[-1] if cost.second is None else cost.second.shape[-2]
        if k or values is not None:
            sizes["k"] = k[0] if k else tensors[values].shape[-1]
        for dimensions in writes.split():
            dtype = {"i": torch.int64, "e": torch.float64}.get(dimensions[0])
            shape = (*batch, *(sizes[letter] for letter in dimensions.removeprefix("i")))
            yield cost.first.new_empty(shape, dtype=dtype)

    def run(*arguments: Any) -> Any:
        cost, tensors, k = Cost(*arguments[:5]), arguments[5 : 5 + count], arguments[5 + count :]
        arrays = Arrays(cost, tensors, cores)
        made = tuple(outputs(cost, tensors, k, arrays.batch))
        cut = len(arrays.batch)
        written = (out.numpy().reshape(arrays.size, *out.shape[cut:]) for out in made)
        getattr(module(), name)(*arrays.given, *written, torch.get_num_threads())
        return made if len(made) > 1 else made[0]

    def fake(*arguments: Any) -> Any:
        cost, tensors = Cost(*arguments[:5]), arguments[5 : 5 + count]
        made = tuple(outputs(cost, tensors, arguments[5 + count :], _batch(cost, tensors, cores)))
        return made if len(made) > 1 else made[0]

    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        inputs, made = ctx.saved_tensors[: 2 + count], ctx.saved_tensors[2 + count :]
        needs = (*ctx.needs_input_grad[:2], *ctx.needs_input_grad[5 : 5 + count])
        assert derivative is not None
        found = derivative(Cost(*inputs[:2], *ctx.plain), inputs[2:], made, slopes, needs)
        first, second, *rest = (
            sum_to(gradient, held) if need and gradient is not None else None
            for gradient, held, need in zip(found, inputs, needs, strict=True)
        )
        return first, second, None, None, None, *rest

    return operator(
        signature,
        run,
        fake,
        setup=save_all,
        backward=None if derivative is None else backward,
        cores=(2, 2, None, None, None, *cores, *[None] * counted),
    )
