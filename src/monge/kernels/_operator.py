"""Native loops as torch operators, seen by the compiler, by fake tensors and by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["CustomOperator", "custom_op", "operator"]

_library = torch.library.Library("monge", "FRAGMENT")


def operator(
    schema: str,
    run: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    device: str = "CPU",
) -> Callable[..., Any]:
    """Registers ``torch.ops.monge.<name>`` for a device, the CPU if not said, and returns it.

    ``torch.library.custom_op`` would do the same, but its first call imports the whole compiler, which takes seconds.

    Args:
        schema: The signature, for instance ``"double(Tensor x) -> Tensor"``.
        run: What it does on real tensors; the outputs share no memory with the inputs.
        fake: The same, up to the values: allocates the outputs.
        setup: ``setup(ctx, inputs, output)`` keeps what backward needs.
        backward: ``backward(ctx, *slopes)`` gives one derivative per input.
        device: Where ``run`` runs.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, run, device)
    torch.library.register_fake(f"monge::{name}", fake, lib=_library)
    if backward is not None:
        torch.library.register_autograd(f"monge::{name}", backward, setup_context=setup, lib=_library)
    return getattr(torch.ops.monge, name).default


class CustomOperator:
    """What ``torch.library.custom_op`` makes, as far as it is used here, without the import of the compiler."""

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self.name = f"monge::{name}"
        schema = torch.library.infer_schema(run, mutates_args=())
        _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, run, "CPU")
        self.overload = getattr(torch.ops.monge, name).default

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run it, through torch's dispatcher."""
        return self.overload(*arguments, **named)

    def register_fake(self, fake: Callable[..., Any]) -> Callable[..., Any]:
        """``fake`` allocates the outputs; a decorator."""
        torch.library.register_fake(self.name, fake, lib=_library)
        return fake

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """``backward(ctx, *slopes)`` gives one derivative per input; ``setup_context`` keeps what it needs."""
        torch.library.register_autograd(self.name, backward, setup_context=setup_context, lib=_library)

    def register_vmap(self, rule: Callable[..., Any]) -> None:
        """``rule(info, in_dims, *arguments)`` runs a batch of calls at once."""
        torch.library.register_vmap(self.name, rule, lib=_library)


def custom_op(name: str) -> Callable[[Callable[..., Any]], CustomOperator]:
    """A decorator: the function, with its annotations as schema, becomes ``torch.ops.monge.<name>`` on the CPU."""
    return lambda run: CustomOperator(name, run)
