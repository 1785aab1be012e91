"""The one way from costs, vectors and values to a native loop, as an operator that torch knows.

The loops read arrays with one dimension of batch, of length one where the batch shares something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from monge._arrays import broadcast_shapes, working_dtype

from .. import _extension
from .._extension import FULL_PRECISION, call
from .._operator import operator, sum_to, told
from .._rules import Rules
from .pairs import Matrix, Pairs, Points
from .scores import epsilon_of


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


# Of points, and of costs that are stored.
_POINTS = "Tensor[*b n d] first, Tensor?[*b m d] second, str[norm dot] kind"
_STORED = "Tensor[*b n m] first, Tensor? second, str[matrix] kind"


def served(
    native: Callable[..., Any],
    reference: Callable[..., Any],
    pairs: Pairs,
    *tensors: Tensor | None,
    epsilon: float | Tensor,
) -> Any:
    """What the native loop says of a cost, tensors and epsilon, or the reference where the loop cannot read them.

    The loop is not told of tensors that are None.
    """
    dtype = native_dtype(pairs, *tensors)
    if dtype is None:
        return reference(pairs, *tensors, epsilon)
    given = [t.to(dtype) for t in tensors if t is not None]
    return native(*Cost.of(pairs, dtype), *given, epsilon_of(epsilon, pairs, dtype))


def native_dtype(pairs: Pairs, *tensors: Tensor | None) -> torch.dtype | None:
    """The dtype in which the native loops would take these tensors, or None if the reference must.

    They read float32 and float64 on the CPU. Points and vectors of lower precision are converted; a stored cost is not,
    since it is as large as everything that streaming avoids.
    """
    if not _extension.AVAILABLE or pairs.device.type != "cpu":
        return None
    for tensor in (*pairs.tensors(), *tensors):
        if tensor is not None and 0 in tensor.shape:
            return None
    dtype = working_dtype(pairs.dtype, *tensors)
    if dtype not in FULL_PRECISION or (isinstance(pairs, Matrix) and pairs.dtype != dtype):
        return None
    return dtype


class Arrays:
    """What one call hands to C++: the batch flattened to one dimension, tensors as arrays of their own memory."""

    def __init__(self, cost: Cost, tensors: Sequence[Tensor], cores: Sequence[int]) -> None:
        first, second, kind, p, power = cost
        self.batch = _batch(cost, tensors, cores)
        self.size = self.batch.numel()
        *held, epsilon = tensors
        self.given = (
            self._flat(first, 2, second is not None),
            None if second is None else self._flat(second, 2),
            kind == "dot",
            p,
            power,
            self._flat(epsilon, 0).astype(np.float64)[:, None],
            *[self._flat(tensor, core) for tensor, core in zip(held, cores, strict=False)],
        )

    def _flat(self, tensor: Tensor, core: int, pack: bool = True) -> np.ndarray:
        """An array with one dimension of batch, of length one if the batch shares it."""
        array = (tensor.detach() if tensor.requires_grad else tensor).numpy()
        cut = array.ndim - core
        if cut == 0:
            array = array[None]
            return np.ascontiguousarray(array) if pack else array
        shape = array.shape[cut:]
        if math.prod(array.shape[:cut]) == 1:
            array = array.reshape(1, *shape)
        elif cut > 1 or array.shape[0] != self.size:
            if array.shape[:cut] != self.batch:
                # A copy, since broadcast arrays are read-only, which the loops do not accept.
                array = np.broadcast_to(array, (*self.batch, *shape)).copy()
            array = array.reshape(self.size, *shape)
        return np.ascontiguousarray(array) if pack else array


def _batch(cost: Cost, tensors: Sequence[Tensor], cores: Sequence[int]) -> torch.Size:
    shapes = [tensor.shape[:-core] if core else tensor.shape for tensor, core in zip(tensors, cores, strict=True)]
    return broadcast_shapes(*(points.shape[:-2] for points in cost[:2] if points is not None), *shapes)


def _allocator(writes: Sequence[str], values: int) -> Callable[..., list[Tensor]]:
    """Makes the outputs of a loop: n, d, m and k are sizes, k of the tensor number ``values`` if nobody says it."""
    dtypes = {"i": torch.int64, "e": torch.float64}
    written = [(["ndmk".find(letter) for letter in shape.strip("ie")], dtypes.get(shape[0])) for shape in writes]

    def outputs(cost: Cost, tensors: Sequence[Tensor], k: Sequence[int], batch: torch.Size) -> list[Tensor]:
        first, second, *_ = cost
        n, d = first.shape[-2:]
        sizes = n, d, d if second is None else second.shape[-2], *(k or (tensors[values].shape[-1:] if values else ()))
        return [
            torch.empty((*batch, *[sizes[place] for place in shape]), dtype=dtype or first.dtype, device=first.device)
            for shape, dtype in written
        ]

    return outputs


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
        writes: Dimensions of the outputs; ``i`` before them for whole numbers, ``e`` alone for a float64 a problem.
        derivative: ``derivative(cost, tensors, outputs, gradients, needs)`` gives the gradients along the first and
            second tensor of the cost and along ``tensors``, epsilon among them; they may be broadcast, or more than
            what is needed.
        counted: Whether it takes k.
    """
    names, shapes = zip(*(part.split(":") for part in reads.split()), strict=True)
    cores, count = (*map(len, shapes), 0), len(shapes) + 1
    values = next((k for k, core in enumerate(cores) if core == 2), 0)
    taken = [f"Tensor[*b {' '.join(shape)}] {each}" for each, shape in zip(names, shapes, strict=True)]
    taken += ["Tensor[*b; float32 float64] epsilon", *["int[1 <= k <= m] k"] * counted]
    numbers = "float[1 <= p] p, float[0 < power < inf] power"
    given = ", ".join(["Tensor"] * len(writes.split()))
    answers = f"({given})" if "," in given else given
    rules = [
        Rules(f"{name}({cost}, {numbers}, {', '.join(taken)}) -> {answers}", FULL_PRECISION)
        for cost in (_POINTS, _STORED)
    ]

    outputs = _allocator(writes.split(), values)

    def split(arguments: tuple[Any, ...]) -> tuple[Cost, Sequence[Tensor], Sequence[int]]:
        return Cost(*arguments[:5]), arguments[5 : 5 + count], arguments[5 + count :]

    def run(*arguments: Any) -> Any:
        cost, tensors, k = split(arguments)
        arrays = Arrays(cost, tensors, cores)
        made = outputs(cost, tensors, k, arrays.batch)
        cut = len(arrays.batch)
        filled = [out.numpy().reshape(arrays.size, *(out.shape[cut:] or (1,))) for out in made]
        call(name, *arrays.given, *filled, torch.get_num_threads())
        return told(made)

    def fake(*arguments: Any) -> Any:
        cost, tensors, k = split(arguments)
        return told(outputs(cost, tensors, k, _batch(cost, tensors, cores)))

    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, made = saved[: 2 + count], saved[2 + count :]
        needs = (*ctx.needs_input_grad[:2], *ctx.needs_input_grad[5 : 5 + count])
        assert derivative is not None
        found = derivative(Cost(*inputs[:2], *ctx.plain), inputs[2:], made, upstream, needs)
        first, second, *rest = (
            sum_to(gradient, held) if need and gradient is not None else None
            for gradient, held, need in zip(found, inputs, needs, strict=True)
        )
        return first, second, None, None, None, *rest

    return operator(
        rules[0],
        run,
        fake,
        backward=None if derivative is None else backward,
        mapped=True,
        check=lambda *given: rules[given[1] is None].check(*given),
    )
