"""Native loops as torch operators, seen by the compiler, by fake tensors and by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["operator"]

_library = torch.library.Library("monge", "FRAGMENT")


def operator(
    schema: str,
    run: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    setup: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Registers ``torch.ops.monge.<name>`` for the CPU and returns it.

    ``torch.library.custom_op`` would do the same, but its first call imports the whole compiler, which takes seconds.

    Args:
        schema: The signature, for instance ``"double(Tensor x) -> Tensor"``.
        run: What it does on real tensors; the outputs share no memory with the inputs.
        fake: The same, up to the values: allocates the outputs.
        setup: ``setup(ctx, inputs, output)`` keeps what backward needs.
        backward: ``backward(ctx, *slopes)`` gives one derivative per input.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, run, "CPU")
    torch.library.register_fake(f"monge::{name}", fake, lib=_library)
    if backward is not None:
        torch.library.register_autograd(f"monge::{name}", backward, setup_context=setup, lib=_library)
    return getattr(torch.ops.monge, name).default
