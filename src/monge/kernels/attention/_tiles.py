"""Attention a few heads at a time: operators that fill their answers tile by tile, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes

from .._extension import FULL_PRECISION
from .._operator import operator, sum_to, told
from .._rules import Rules
from ..derivatives import again, derivatives

# Where a tile lies among the heads, and what belongs there, one tensor for each answer.
Tiles = Iterable[tuple[slice, Sequence[Any]]]


def takes(*tensors: Tensor) -> bool:
    """Whether tiles serve these: on the processor, all of one full precision."""
    dtype = tensors[0].dtype
    return dtype in FULL_PRECISION and all(t.device.type == "cpu" and t.dtype == dtype and t.numel() for t in tensors)


def batch_of(tensors: Iterable[Tensor], cores: Iterable[int]) -> torch.Size:
    """The dimensions of the batch, which stand before the ``cores`` that a head has of its own."""
    return broadcast_shapes(*(t.shape[: t.ndim - core] for t, core in zip(tensors, cores, strict=False)))


def flat(batch: torch.Size, tensors: Iterable[Tensor], cores: Iterable[int]) -> list[Tensor]:
    """One dimension of the batch, before those that a head has of its own."""
    shapes = ((t, t.shape[t.ndim - core :]) for t, core in zip(tensors, cores, strict=True))
    return [t.expand(batch + own).reshape(batch.numel(), *own) for t, own in shapes]


def tiled(
    name: str,
    inputs: str,
    cores: Sequence[int],
    made: Mapping[str, str],
    allocate: Callable[..., Sequence[Tensor]],
    forward: Callable[..., Tiles],
    backward: Callable[..., Tiles],
    definition: Callable[..., Tensor],
    mapped: bool = False,
) -> Callable[..., Any]:
    """An operator and that of its derivatives, ``<name>_gradients``, both of which fill tiles.

    Args:
        name: Of the operator.
        inputs: What it takes, as in `Rules`: tensors with derivatives, other tensors, numbers.
        cores: How many dimensions of its own each tensor with a derivative has.
        made: The answers and their sizes, as in `Rules`; the first is the output, the others are kept for the
            derivatives.
        allocate: Makes the answers.
        forward: Of the inputs, the tiles of the answers.
        backward: Of the inputs, the answers and the derivative by the output, the tiles of the derivatives.
        definition: The output in operations that can be differentiated again.
        mapped: Whether ``torch.vmap`` may add a dimension of the batch.
    """
    others = (None,) * (inputs.count(",") + 1 - len(cores))
    kept = [f"Tensor[{sizes}] {one}" for one, sizes in {**made, "d_out": next(iter(made.values()))}.items()]

    def fill(answers: Sequence[Tensor], own: Iterable[int], tiles: Tiles) -> Any:
        whole = [
            t.view(t.shape[: t.ndim - core].numel(), *t.shape[t.ndim - core :])
            for t, core in zip(answers, own, strict=True)
        ]
        for tile, parts in tiles:
            for answer, part in zip(whole, parts, strict=True):
                answer[tile] = part
        return told(answers)

    def run(*arguments: Any) -> Any:
        return fill(allocate(*arguments), map(core_of, made.values()), forward(*arguments))

    def fake(*arguments: Any) -> Any:
        return told(allocate(*arguments))

    def allocate_gradients(*arguments: Any) -> tuple[Tensor, ...]:
        batch = batch_of(arguments, cores)
        return tuple(t.new_empty(batch + t.shape[t.ndim - core :]) for t, core in zip(arguments, cores, strict=False))

    def run_gradients(*arguments: Any) -> Any:
        return fill(allocate_gradients(*arguments), cores, backward(*arguments))

    def derivative(ctx: Any, d_out: Tensor, *rest: Tensor) -> tuple[Tensor | None, ...]:
        tensors = len(ctx.saved_tensors) - len(made)
        arguments = *ctx.saved_tensors[:tensors], *ctx.plain
        inputs = arguments[: len(cores)]
        if again():
            return *derivatives(definition(*arguments), inputs, d_out), *others
        found = gradients(*arguments, *ctx.saved_tensors[tensors:], d_out)
        return *(sum_to(gradient, t) for gradient, t in zip(found, inputs, strict=True)), *others

    def rules(named: str, taken: str, answers: Collection[Any]) -> Rules:
        return Rules(f"{named}({taken}) -> ({', '.join(['Tensor'] * len(answers))})", FULL_PRECISION)

    gradients = operator(
        rules(f"{name}_gradients", ", ".join([inputs, *kept]), cores), run_gradients, allocate_gradients, mapped=mapped
    )
    return operator(rules(name, inputs, made), run, fake, backward=derivative, mapped=mapped)


def core_of(sizes: str) -> int:
    """How many dimensions of its own a tensor has, by its rule, which begins with those of the batch."""
    return len(sizes.partition(";")[0].split()) - 1
