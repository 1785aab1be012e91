"""Forward mode and the transforms of ``torch.func``, for functions that are written for reverse mode.

The library loops over numbers that it reads, detaches, and has backward passes of its own. Under ``torch.func.jvp``,
``grad``, ``vjp``, ``vmap``, inside one another, and inside ``torch.autograd.forward_ad``, a public function is
therefore one node. It runs on plain tensors; its derivatives are calls on plain tensors again, made by
``torch.autograd.grad``, so that any order follows from reverse mode alone: the tangent is the derivative of the adjoint
by its cotangent, in which it is linear, and the tangent of an adjoint needs no more, since second derivatives commute.
Outside transforms nothing of this happens.

Autocast is off inside of a public function, since it would round products of points to half precision, and with them
costs and projections; a module decides for itself, because its own projections may be rounded.

Devices without double precision, which is MPS, lend their tensors to the processor: a public function runs there, and
what it gives goes back.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn
from torch._C import _autograd  # type: ignore[attr-defined]
from torch.autograd import forward_ad

from ._parts import Parts, parts_of
from .errors import CapabilityError, InputError, PrecisionWarning, ShapeError

__all__ = ["casting", "gradient_of", "leaves_of", "lending", "placed", "transformable"]

_F = TypeVar("_F", bound=Callable[..., Any])
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")
# Devices that have no double precision.
_SINGLE = frozenset({"mps"} if torch.backends.mps.is_available() else ())
_functorch_active = torch._C._are_functorch_transforms_active


@overload
def transformable(function: _F) -> _F: ...
@overload
def transformable(*, constant: bool | Callable[[Any], bool] = False, double: bool = True) -> Callable[[_F], _F]: ...
def transformable(function: Any = None, *, constant: bool | Callable[[Any], bool] = False, double: bool = True) -> Any:
    """A decorator: the function, or method of a value or a module, as a node of every transform.

    Args:
        function: Its tensors may be anywhere in its arguments, in parameters of modules and in closures as well.
        constant: Whether an answer that does not depend on the inputs is right, as it is for a permutation; a function
            of the answer may say so. Otherwise it is refused to those who differentiate, since they would take it for a
            derivative of zero.
        double: Whether it computes in double precision, so that it has to leave devices that have none.
    """
    if function is None:
        return functools.partial(transformable, constant=constant, double=double)

    @functools.wraps(function)
    def entered(*args: Any, **kwargs: Any) -> Any:
        if casting() and not (args and isinstance(args[0], nn.Module)):
            with _uncast():
                return entered(*args, **kwargs)
        if double and _SINGLE and not (args and isinstance(args[0], nn.Module)):
            given = parts_of((args, kwargs))
            device = next((t.device for t in given.tensors if _is_single(t)), None)
            if device is not None:
                return _on_processor(entered, given, device)
        if not transforming():
            return function(*args, **kwargs)
        call = _Primal(function, parts_of((args, kwargs)), constant)
        found = list(_Node.apply(call, *call.given.tensors))  # type: ignore[call-overload]
        for k, source in call.through.items():
            found[k] = call.given.tensors[source]
        return call.answer.build(found)  # type: ignore[union-attr]

    return entered


def _on_processor(function: Callable[..., Any], given: Parts, device: torch.device) -> Any:
    """The answer by tensors on the processor, moved to the device; autograd follows both ways."""
    _say_once(device.type)
    moved = [_to_processor(t) for t in given.tensors]
    found = parts_of(given.within(moved, lambda held: function(*held[0], **held[1])), modules=False)
    back = [t.to(device, torch.float32 if t.dtype == torch.float64 else t.dtype) for t in found.tensors]
    return found.build(back)


def lending() -> bool:
    """Whether there are devices without double precision, so that functions have to look where their tensors are."""
    return bool(_SINGLE)


def _is_single(tensor: Tensor) -> bool:
    return tensor.device.type in _SINGLE


def _to_processor(tensor: Tensor) -> Tensor:
    return tensor.cpu()


@functools.cache
def _say_once(kind: str) -> None:
    warnings.warn(
        f"Tensors on {kind} have no double precision, in which transport is computed: this function runs on the "
        "processor, and so will others; their answers go back. Move the tensors with .cpu() to save the copies.",
        PrecisionWarning,
        stacklevel=4,
    )


def transforming() -> bool:
    """Whether a transform of ``torch.func``, or forward mode, is at work; a compiler has its own way with both."""
    active = _functorch_active() or (forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled())
    return active and not torch.compiler.is_compiling()


def casting() -> bool:
    """Whether autocast is on for some device; a compiler is left to the functions that it can see through."""
    return (
        torch._C._is_any_autocast_enabled()
        and not torch.compiler.is_compiling()
        and any(map(torch.is_autocast_enabled, _AUTOCAST))
    )


@contextmanager
def _uncast() -> Iterator[None]:
    """A region in which autocast leaves dtypes alone, on every device."""
    with ExitStack() as regions:
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                regions.enter_context(torch.autocast(kind, enabled=False))
        yield


class _Call:
    """A function of plain tensors, differentiable by ``torch.autograd.grad`` under grad mode."""

    def run(self, *tensors: Tensor) -> Sequence[Tensor]:
        """The answers, in the graph if grad mode is on."""
        raise AssertionError

    def tangent(self, tensors: Sequence[Tensor], moved: Sequence[int], changes: Sequence[Tensor]) -> Sequence[Tensor]:
        """How the floating answers change."""
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            leaves = leaves_of(tensors, moved, further)
            out = _floating(self.run(*leaves))
            points = [leaves[k] for k in moved]
            try:
                return _changes(out, points, changes, further)
            except CapabilityError as refusal:
                return _changes_that_are(out, points, changes, further, refusal)

    def examples(self, count: int, law: str) -> Sequence[_Call]:
        """One call for each example of a ``torch.vmap``."""
        raise AssertionError

    def gather(self, examples: Sequence[_Call]) -> None:
        """Learn from the examples, after they ran, what the answer looks like."""


class _Primal(_Call):
    """The function itself; what its answer is made of is known after the first run."""

    def __init__(self, function: Callable[..., Any], given: Parts, constant: Any, replay: _Replay | None = None):
        self.function, self.given, self.constant = function, given, constant
        self.replay = _Replay(given) if replay is None else replay
        self.answer: Parts | None = None
        self.through: dict[int, int] = {}
        self.children: list[_Primal] = []

    @property
    def name(self) -> str:
        """Of the function, as its users know it."""
        return getattr(self.function, "__qualname__", repr(self.function))

    def run(self, *tensors: Tensor) -> Sequence[Tensor]:
        """The tensors of the answer."""
        tensors = tuple(tensors)
        found = self.replay.run(
            lambda: self.given.within(tensors, lambda held: self.function(*held[0], **held[1])), self.name
        )
        answer = parts_of(found, modules=False)
        if self.answer is None:
            self.answer = answer
            # What is handed through stays what it was: it does not depend on the other arguments.
            places = {id(t): k for k, t in enumerate(tensors)}
            self.through = {k: places[id(t)] for k, t in enumerate(answer.tensors) if id(t) in places}
        out = answer.tensors
        constant = self.constant(found) if callable(self.constant) else self.constant
        if not constant and torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            smooth = _floating(out)
            if smooth and not any(t.requires_grad for t in smooth):
                raise CapabilityError(
                    f"{self.name} carries no derivative with these arguments: detach its inputs, or choose a "
                    "differentiable solver, such as one with gradient=Implicit()."
                )
        return out

    def examples(self, count: int, law: str) -> Sequence[_Primal]:
        if not self.children and self.answer is not None:
            return [self] * count  # it ran once for all: only its gradients differ
        if not self.children:
            self.replay.law = law
            self.children = [
                _Primal(self.function, self.given, self.constant, self.replay if law == "same" else self.replay.fresh())
                for _ in range(count)
            ]
        return self.children

    def gather(self, examples: Sequence[_Call]) -> None:
        if self.answer is not None:
            return
        for example in examples:
            assert isinstance(example, _Primal)
            assert example.answer is not None
            if self.answer is None:
                self.answer, self.through = example.answer, example.through
            else:
                self.answer.same_form(example.answer, self.name)


@dataclass(frozen=True)
class _Derived(_Call):
    """What follows from another call, whose tensors are the first ``count``."""

    call: _Call
    count: int

    def examples(self, count: int, law: str) -> Sequence[_Call]:
        return [replace(self, call=call) for call in self.call.examples(count, law)]


@dataclass(frozen=True)
class _Adjoint(_Derived):
    """The derivative of <answers, gradients> by some of the tensors."""

    wanted: Sequence[int]
    live: Sequence[int]

    def run(self, *tensors: Tensor) -> Sequence[Tensor]:
        """One derivative for each that is wanted."""
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            _, wanted, out = self._opened(tensors, self.wanted, further)
            return gradient_of(out, wanted, tensors[self.count :], further)

    def tangent(self, tensors: Sequence[Tensor], moved: Sequence[int], changes: Sequence[Tensor]) -> Sequence[Tensor]:
        """By the symmetry of second derivatives, one derivative of the adjoint along the changes."""
        further = torch.is_grad_enabled()
        points = [k for k in moved if k < self.count]
        gradients = tensors[self.count :]
        change = dict(zip(moved, changes, strict=True))
        with torch.enable_grad():
            leaves, wanted, out = self._opened(tensors, sorted({*self.wanted, *points}), further)
            turned = [change.get(self.count + k, torch.zeros_like(s)) for k, s in enumerate(gradients)]
            total = gradient_of(out, wanted, turned, True)
            if points:
                felt = gradient_of(out, [leaves[k] for k in points], gradients, True)
                bent = gradient_of(felt, wanted, [change[k] for k in points], further)
                total = [first + second for first, second in zip(total, bent, strict=True)]
        return total if further else [t.detach() for t in total]

    def _opened(self, tensors: Sequence[Tensor], held: Sequence[int], further: bool) -> tuple[Sequence[Tensor], ...]:
        """The tensors as leaves, those of them that are wanted, and the answers that count."""
        leaves = leaves_of(tensors[: self.count], held, further)
        out = self.call.run(*leaves)
        return leaves, [leaves[k] for k in self.wanted], [out[k] for k in self.live]


@dataclass(frozen=True)
class _Tangent(_Derived):
    """How the floating answers change with some of the tensors."""

    moved: Sequence[int]

    def run(self, *tensors: Tensor) -> Sequence[Tensor]:
        """One change for each floating answer."""
        return self.call.tangent(tensors[: self.count], self.moved, tensors[self.count :])


class _Node(torch.autograd.Function):
    """One call, whose derivatives are calls again."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        with _hooks():
            out = call.run(*(t.detach() for t in tensors))
        # What is handed through must not share memory with what came in: it is an answer of its own.
        held = {t.data_ptr() for t in tensors}
        return tuple(t.clone() if t.data_ptr() in held else t.detach() for t in out) or (torch.zeros(()),)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.call, *tensors = inputs
        ctx.smooth = [t.is_floating_point() for t in output]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple:  # type: ignore[override]
        tensors = ctx.saved_tensors
        wanted = [k for k, need in enumerate(ctx.needs_input_grad[1:]) if need]
        live = [k for k, gradient in enumerate(gradients) if gradient is not None]
        if not (wanted and live):
            return (None,) * (1 + len(tensors))
        adjoint = _Adjoint(ctx.call, len(tensors), wanted, live)
        found = _Node.apply(adjoint, *tensors, *(gradients[k] for k in live))
        return None, *placed(found, wanted, len(tensors))  # type: ignore[arg-type]

    @staticmethod
    def jvp(ctx: Any, *changes: Tensor | None) -> tuple:  # type: ignore[override]
        tensors = ctx.saved_tensors
        moved = [k for k, change in enumerate(changes[1:]) if change is not None]
        given = [change for change in changes[1:] if change is not None]
        found = iter(_Node.apply(_Tangent(ctx.call, len(tensors), moved), *tensors, *given))  # type: ignore[arg-type]
        return tuple(next(found) if smooth else None for smooth in ctx.smooth)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, call: _Call, *tensors: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        examples = call.examples(info.batch_size, info.randomness)
        rows = [
            _Node.apply(
                example, *(t if d is None else t.select(d, k) for t, d in zip(tensors, in_dims[1:], strict=True))
            )
            for k, example in enumerate(examples)
        ]
        call.gather(examples)
        if len({tuple(t.shape for t in row) for row in rows}) > 1:  # type: ignore[union-attr]
            raise ShapeError(
                "Under torch.vmap all answers must have one shape, but those of different examples differ: pass the "
                "clouds as one batch instead, whose answers are padded."
            )
        stacked = tuple(torch.stack(column) for column in zip(*rows, strict=True))  # type: ignore[arg-type]
        return stacked, (0,) * len(stacked)


class _Replay:
    """Draws the same random numbers at every run: derivatives must be those of the first."""

    def __init__(self, given: Parts) -> None:
        places = {t.device.index for t in given.tensors if t.device.type == "cuda"}
        everywhere = [torch.default_generator, *(torch.cuda.default_generators[k or 0] for k in places)]
        self.generators = [*everywhere, *given.generators]
        self.start: list[Tensor] | None = None
        self.law = "different"

    def fresh(self) -> _Replay:
        """The same generators, before a first run."""
        made = _Replay.__new__(_Replay)
        made.generators, made.start, made.law = self.generators, None, self.law
        return made

    def run(self, function: Callable[[], Any], name: str) -> Any:
        """The answer; generators move on at the first run only."""
        before = self._states()
        if self.start is None:
            self.start = before
            found = function()
            if self.law == "error" and any(not torch.equal(a, b) for a, b in zip(before, self._states(), strict=True)):
                raise InputError(
                    f"{name} draws random numbers, and torch.vmap must be told how: pass randomness='different' or "
                    "randomness='same' to torch.vmap."
                )
            return found
        self._set(self.start)
        try:
            return function()
        finally:
            self._set(before)

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.generators]

    def _set(self, states: Sequence[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


@contextmanager
def _hooks() -> Iterator[None]:
    """Recomputation needs hooks on saved tensors, which ``torch.func`` forbids even below its transforms."""
    enabled = _autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    message = _autograd._saved_tensors_hooks_get_disabled_error_message() or ""
    _autograd._saved_tensors_hooks_enable()
    try:
        yield
    finally:
        if not enabled:
            _autograd._saved_tensors_hooks_disable(message)


def leaves_of(tensors: Sequence[Any], wanted: Sequence[int], further: bool) -> list[Any]:
    """The tensors, of which the wanted ones can be differentiated; they stay attached to what asks for more."""
    leaves = list(tensors)
    for k in wanted:
        if not (further and leaves[k].requires_grad):
            leaves[k] = leaves[k].detach().requires_grad_()
    return leaves


def _changes(
    out: Sequence[Tensor], points: Sequence[Tensor], changes: Sequence[Tensor], further: bool
) -> Sequence[Tensor]:
    """The tangents: the derivative, by a cotangent in which it is linear, of the adjoint along the changes."""
    gradients = [torch.zeros_like(t).requires_grad_() for t in out]
    return gradient_of(gradient_of(out, points, gradients, True), gradients, changes, further)


def _changes_that_are(
    out: Sequence[Tensor], points: Sequence[Tensor], changes: Sequence[Tensor], further: bool, refusal: CapabilityError
) -> Sequence[Tensor]:
    """The tangents of those answers that have one, NaN for those that refuse: zero would be believed."""
    found, told = [], 0
    for answer in out:
        try:
            found.extend(_changes([answer], points, changes, further))
            told += answer.requires_grad
        except CapabilityError:
            found.append(torch.full_like(answer, math.nan))
    if not told:
        raise refusal
    return found


def _floating(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t for t in tensors if t.is_floating_point()]


def gradient_of(
    answers: Sequence[Tensor], leaves: Sequence[Any], gradients: Sequence[Tensor], further: bool
) -> Sequence[Tensor]:
    """The derivative of <answers, gradients> by the leaves; zero where an answer does not depend on a leaf."""
    live = [(answer, gradient) for answer, gradient in zip(answers, gradients, strict=True) if answer.requires_grad]
    if not (live and leaves):
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(
        [answer for answer, _ in live],
        list(leaves),
        [gradient for _, gradient in live],
        create_graph=further,
        allow_unused=True,
        materialize_grads=True,
    )


def placed(found: Sequence[Any], where: Sequence[int], count: int) -> list[Any]:
    """What was found in its places among ``count``, None elsewhere."""
    at = dict(zip(where, found, strict=True))
    return [at.get(k) for k in range(count)]
