"""A question to a value, and how its answer and its gradients are compared with those of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from monge._value import Value
from monge.errors import DenseLimitError

Answer = Tensor | Sequence[Tensor]
Tolerance = dict[str, float]


@dataclass(frozen=True)
class Question:
    """A question, and what a matrix answers.

    Args:
        name: What the user writes.
        ask: The question to a value, given the inputs.
        answer: What its matrix says, given the same inputs.
        inputs: Tensors besides the value that the answer is differentiated by.
        smooth: Whether the answer has a derivative at these inputs.
    """

    name: str
    ask: Callable[..., Answer]
    answer: Callable[..., Answer]
    inputs: tuple[Tensor, ...] = ()
    smooth: bool = True


def tolerance_of(dtype: torch.dtype, rtol: float | None, atol: float | None) -> Tolerance:
    """What is given, or what suits the dtype."""
    double = dtype == torch.float64
    return {
        "rtol": (1e-8 if double else 1e-3) if rtol is None else rtol,
        "atol": (1e-10 if double else 1e-5) if atol is None else atol,
    }


def compare(
    what: str, found: Answer, expected: Answer, tolerance: Tolerance, told: str = "differs from its matrix"
) -> None:
    """Fail with a sentence that says what is wrong, unless both answers are the same within the tolerance."""
    found, expected = (tuple(answer) if isinstance(answer, Sequence) else (answer,) for answer in (found, expected))
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(
            got.detach(),
            wanted.detach(),
            rtol=tolerance["rtol"],
            atol=tolerance["atol"],
            msg=lambda text: f"{what} {told}.\n{text}",
        )


def fresh(held: Value) -> tuple[Any, list[Tensor]]:
    """The value anew, with every number it holds a leaf of autograd, and these leaves."""
    made = held._map(lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
    return made, [t for t in made._tensors() if t.is_floating_point()]


def gradients(answer: Answer, leaves: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of the `weighted` sum of an answer."""
    total = weighted(answer)
    if not total.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True))


def weighted(answer: Answer) -> Tensor:
    """The entries of an answer, added up with random weights."""
    generator = torch.Generator().manual_seed(1)
    parts = answer if isinstance(answer, Sequence) else (answer,)
    weights = [torch.rand(part.shape, generator=generator, dtype=torch.float64) for part in parts]
    return torch.stack([(part * weight.to(part)).sum() for part, weight in zip(parts, weights, strict=True)]).sum()


def ways_of(leaves: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """A random direction in the space of all these tensors."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf) for leaf in leaves]


def along(derivatives: Sequence[Tensor], ways: Sequence[Tensor]) -> Tensor:
    """The derivative in a direction."""
    return torch.stack([(derivative * way).sum() for derivative, way in zip(derivatives, ways, strict=True)]).sum()


@torch.no_grad()
def difference(read: Callable[[], Tensor], leaves: Sequence[Tensor], ways: Sequence[Tensor], step: float) -> Tensor:
    """The central difference of what is read in a direction; the leaves are moved, and moved back."""
    starts, ends = [leaf.clone() for leaf in leaves], []
    for size in (step, -step, 0.0):
        for leaf, start, way in zip(leaves, starts, ways, strict=True):
            leaf.copy_(start + size * way)
        ends.append(read())
    return (ends[0] - ends[1]) / (2 * step)


def check_question(
    question: Question,
    held: Value,
    reference: Callable[[Any], Tensor],
    dense: Tensor | None,
    tolerance: Tolerance,
) -> None:
    """Compare an answer, and its gradients by all numbers of the value and by the inputs, with those of the matrix.

    ``reference`` gives the matrix of a value, differentiable; ``dense`` is it, where it is known from elsewhere.
    """

    def answered(ask: Callable[..., Answer], read: Callable[[Any], Any]) -> tuple[Answer, list[Tensor]]:
        made, leaves = fresh(held)
        inputs = [part.detach().clone().requires_grad_() for part in question.inputs]
        answer = ask(read(made), *inputs)
        return answer, gradients(answer, [*leaves, *inputs]) if question.smooth else []

    found, derivatives = answered(question.ask, lambda made: made)
    wanted, expected = answered(question.answer, reference)
    if dense is not None:
        wanted = question.answer(dense, *question.inputs)
    compare(question.name, found, wanted, tolerance)
    for k, (derivative, truth) in enumerate(zip(derivatives, expected, strict=True)):
        size = max(1.0, float(truth.abs().max())) if truth.numel() else 1.0
        allowed = {"rtol": 10 * tolerance["rtol"], "atol": 10 * tolerance["atol"] * size}
        compare(
            f"The gradient of {question.name} by tensor {k} of the value and the inputs", derivative, truth, allowed
        )


def check_copies(name: str, held: Any, matrix: Tensor, tolerance: Tolerance) -> None:
    """What makes it a value: shape, repr, pytree, detached copies, copies in another dtype, and a limit of memory."""
    assert tuple(held.shape) == tuple(matrix.shape[-len(held.shape) :]), (
        f"{name}.shape is {tuple(held.shape)}, but its matrix has {tuple(matrix.shape)}."
    )
    assert held.T.shape[-2:] == held.shape[-2:][::-1], f"{name}.T.shape must be the shape of the transpose."
    assert held.batch_shape == matrix.shape[:-2], f"{name}.batch_shape must be the leading dimensions of the matrix."
    assert len(repr(held)) < 200, f"repr({name}) must be short."
    leaves, structure = pytree.tree_flatten(held)
    assert all(isinstance(leaf, Tensor) for leaf in leaves), f"The leaves of {name} must be tensors."
    again = pytree.tree_unflatten(leaves, structure)
    compare(f"{name} after a pytree round trip", again.dense(), matrix, tolerance)
    detached = fresh(held)[0].detach()._tensors()
    assert not any(t.requires_grad for t in detached), f"{name}.detach() must leave the graph."
    other = held.to(torch.float32)
    assert other.dtype == other.dense().dtype == torch.float32, f"{name}.to(torch.float32) must be in float32."
    compare(f"{name}.to(torch.float32)", other.dense(), matrix.float(), {"rtol": 1e-3, "atol": 1e-5})
    try:
        held.dense(max_bytes=matrix.numel() * matrix.element_size() - 1)
    except DenseLimitError:
        return
    raise AssertionError(f"{name}.dense(max_bytes) must raise DenseLimitError above the limit.")


def chosen(held: Any, matrix: Tensor) -> Iterator[tuple[str, Any, Tensor]]:
    """Problems of a batch, one by one and several at a time: the index, the value there, and its matrix."""
    batch = matrix.shape[:-2]
    indices: list[Any] = [0, -1, slice(0, 1), (..., 0), (None, 0), [0, 0], torch.arange(len(matrix)) == 0]
    if len(batch) > 1:
        indices += [(0, 0), (slice(None), torch.tensor([0, -1]))]
    for index in indices if batch else ():
        wanted = matrix[(*index, slice(None), slice(None))] if isinstance(index, tuple) else matrix[index]
        yield repr(index), held[index], wanted
