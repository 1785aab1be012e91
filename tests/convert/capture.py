"""How a model collects the attentions of its layers without being told by them: by class, from outside.

Two generations of one library. The later one leaves hooks on all modules of a class, which look up what is wanted; the
earlier one puts a wrapper around their forward for the time of one call.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import wraps

from torch import nn

_active_collector: ContextVar[dict | None] = ContextVar("collected", default=None)


def by_hooks(model: nn.Module, kind: type[nn.Module], *args, wanted=("attentions",), **kwargs):
    """The answer of a model, and what modules of a class gave beside their output."""
    for module in model.modules():
        if isinstance(module, kind) and not module._forward_hooks:
            module.register_forward_hook(_hook)
    collected = {key: [] for key in wanted}
    token = _active_collector.set(collected)
    try:
        return model(*args, **kwargs), collected
    finally:
        _active_collector.reset(token)


def _hook(module, args, output):
    collected = _active_collector.get()
    if collected is not None and "attentions" in collected and output[1] is not None:
        collected["attentions"].append(output[1])


def by_wrappers(wrap, model: nn.Module, kind: type[nn.Module], *args, **kwargs):
    """The same by wrappers, which another module makes, as the library does."""
    found, patched = [], [module for module in model.modules() if isinstance(module, kind)]
    for module in patched:
        module.forward = wrap(module.forward, found)
    try:
        return model(*args, **kwargs), found
    finally:
        for module in patched:
            del module.forward


def plainly(forward, found):
    """A wrapper of somebody else, who does not collect anything."""

    @wraps(forward)
    def wrapped(*args, **kwargs):
        return forward(*args, **kwargs)

    return wrapped
