"""Native loops as torch operators, seen by the compiler, by fake tensors, by autograd and by vmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from monge.errors import DeviceError, InputError

from ._rules import Kind, Rules

_library = torch.library.Library("monge", "FRAGMENT")
# What the dispatcher reads off a tensor on the processor that is no more than that.
_PLAIN = torch._C._dispatch_keys(torch.empty(0)).raw_repr()


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator of torch, which is run without its dispatcher where that has nothing to say.

    The way through it takes longer than a small problem: its Python side is entered from C++, and packs all arguments.
    """

    run: Callable[..., Any]
    registered: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """What the operator says."""
        watched = torch.compiler.is_compiling() or _watched(arguments)
        return self.registered(*arguments) if watched else self.run(*arguments)


def _watched(arguments: tuple[Any, ...]) -> bool:
    """Whether autograd, a mode, a transform or a tensor of another kind has a part in a call."""
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return True
    graded = torch.is_grad_enabled()
    return forward_ad._current_level >= 0 or any(
        torch._C._dispatch_keys(held).raw_repr() != _PLAIN or (graded and held.requires_grad)
        for held in arguments
        if isinstance(held, Tensor)
    )


def operator(
    rules: Rules,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    mapped: bool = False,
    device: str = "CPU",
    check: Callable[..., None] | None = None,
) -> Operator:
    """Registers ``torch.ops.monge.<name>`` for a device, the CPU if not said, and returns it.

    ``torch.library.custom_op`` would do the same, but its first call imports the whole compiler, which takes seconds.
    What torch does not offer to operators is ``torch.func.grad``; ``torch.autograd.grad`` works, also around
    ``torch.vmap``.

    Args:
        rules: The signature, for instance ``"double(Tensor[n] x) -> Tensor"``, and what the arguments must be. The
            dispatcher hands them on only if they are; a call past it is ours, and believed.
        run: What it does on real tensors; the outputs share no memory with the inputs.
        fake: The same, up to the values: allocates the outputs.
        setup: ``setup(ctx, inputs, output)`` keeps what backward needs, `save_all` if not said.
        backward: ``backward(ctx, *gradients)`` gives one gradient per input.
        mapped: Whether ``torch.vmap`` may add a dimension of the batch.
        device: Where ``run`` runs.
        check: What the arguments are compared with, if that is more than the rules.
    """
    name = rules.schema.partition("(")[0]
    check = check or rules.check

    def checked(work: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                check(*map(Kind.of, arguments))
                return work(*arguments)
            except InputError as error:
                raise type(error)(f"torch.ops.monge.{name}: {error}") from error

        return call

    def elsewhere(*arguments: Any) -> Any:
        found = next(held for held in arguments if isinstance(held, Tensor) and _is_elsewhere(held, device))
        raise DeviceError(
            f"Tensors must be dense and live on {device.lower()}, but one is {found.layout} on {found.device}: move it "
            "with .to(), or make it dense."
        )

    _library.define(rules.schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, checked(run, lru_cache(check)), device)
    _library.impl(name, checked(elsewhere, check), "CompositeExplicitAutograd")
    # Sizes that a compiler has not decided have no place in a cache.
    torch.library.register_fake(f"monge::{name}", checked(fake, check), lib=_library)
    made = getattr(torch.ops.monge, name).default
    if backward is not None:
        torch.library.register_autograd(f"monge::{name}", backward, setup_context=setup or save_all, lib=_library)
    if mapped:
        torch.library.register_vmap(f"monge::{name}", _vmap_rule(made, rules.cores), lib=_library)
    return Operator(run, made)


def _is_elsewhere(held: Tensor, device: str) -> bool:
    return held.layout != torch.strided or held.device.type != device.lower()


def save_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep all tensors, inputs and then outputs, and in ``ctx.plain`` what is none."""
    ctx.plain = [held for held in inputs if held is not None and not isinstance(held, Tensor)]
    held = [held for held in inputs if held is None or isinstance(held, Tensor)]
    ctx.save_for_backward(*held, *([output] if isinstance(output, Tensor) else output))


def told(answers: Sequence[Tensor]) -> Any:
    """As torch wants the answers of an operator: one alone is no tuple."""
    return answers[0] if len(answers) == 1 else tuple(answers)


def sum_to(gradient: Tensor, like: Tensor) -> Tensor:
    """``gradient`` summed over the dimensions in which ``like`` was broadcast."""
    return gradient if gradient.shape == like.shape else gradient.sum_to_size(like.shape)


def _vmap_rule(run: Callable[..., Any], cores: Sequence[int | None]) -> Callable[..., tuple[Any, Any]]:
    """One call with a further dimension of the batch in front, aligned by those of each argument's own."""

    def rule(info: Any, in_dims: tuple, *arguments: Any) -> tuple[Any, Any]:
        depth = max(
            argument.ndim - core - (where is not None)
            for core, argument, where in zip(cores, arguments, in_dims, strict=True)
            if isinstance(argument, Tensor) and core is not None
        )

        def align(core: int | None, argument: Any, where: int | None) -> Any:
            if where is None or core is None:
                return argument
            moved = argument.movedim(where, 0)
            missing = depth - (moved.ndim - 1 - core)
            return moved.reshape(moved.shape[0], *[1] * missing, *moved.shape[1:])

        out = run(*(align(*each) for each in zip(cores, arguments, in_dims, strict=True)))
        return out, 0 if isinstance(out, Tensor) else (0,) * len(out)

    return rule
