"""An attention module of another library, with its projections as they were and a coupler between them."""

from __future__ import annotations

import inspect
from functools import cache
from types import new_class
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import Self

from monge._arrays import working_dtype
from monge.errors import CapabilityError
from monge.nn import Attention
from monge.nn.couplers import Coupler, Heads

from ._foreign_mask import read_mask
from .layout import HARMLESS, Layout

__all__ = ["Converted", "Layer"]

_CACHES = ("cache", "past_key_value", "past_key_values", "layer_past", "use_cache")


class Converted(nn.Module):
    """Stands where an attention module stood: the same submodules under the same names, the same call, one coupler.

    It is an instance of the old class as well, so that whoever collects attentions from all modules of that class, as
    the fifth generation of the transformers library does, finds it. It gives its weights, before dropout, to those who
    ask by ``output_attentions`` in the call or in the module's ``config``, or by a hook that collects them; asking does
    not change the output.

    Args:
        module: The attention module; its submodules are shared, not copied.
        layout: How it is built and called.
        coupler: What takes the place of softmax.

    Example:
        >>> from monge.convert import Layout
        >>> from monge.nn.couplers import Pivots
        >>> class Mine(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.n_heads = 2
        ...         self.to_q, self.to_k, self.to_v = (torch.nn.Linear(16, 16) for _ in range(3))
        ...     def forward(self, x):
        ...         raise NotImplementedError
        >>> layout = Layout("mine", ("to_q", "to_k", "to_v"), "n_heads", tokens="x", answer="output")
        >>> made = Converted(Mine(), layout, Pivots(2, 8))
        >>> made(torch.randn(3, 10, 16)).shape, isinstance(made, Mine)
        (torch.Size([3, 10, 16]), True)
    """

    # Not what the old class makes of a call.
    __call__ = nn.Module.__call__

    def __new__(cls, module: nn.Module, *_: Any) -> Self:
        """An instance of both classes."""
        made: Any = _blank(type(module))
        return made

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """The class is made where it is needed, so copies and files name the old one."""
        return _blank, (type(self).__bases__[1],), self.__dict__

    def __init__(self, module: nn.Module, layout: Layout, coupler: Coupler) -> None:
        nn.Module.__init__(self)
        self.layout, self.config = layout, getattr(module, "config", None)
        for name in dict.fromkeys((*layout.projections, *layout.output)):
            setattr(self, name, getattr(module, name))
        self.coupler = coupler
        self.heads, self.causal = getattr(module, layout.heads), layout.is_causal(module)
        setattr(self, layout.heads, self.heads)
        drop = 0.0 if layout.dropout is None else getattr(module, layout.dropout, 0.0)
        self.dropout_probability = float(getattr(drop, "p", drop))
        width = layout.width(module) or 1
        # Couplers take scores over the root of the width; any other scale goes into the queries.
        self.gain = 1.0 if layout.scale is None else getattr(module, layout.scale) * width**0.5
        self.parameter_names = tuple(
            name
            for name, parameter in inspect.signature(module.forward).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        )
        self.train(module.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Attend; arguments and answer are those of the module that stood here.

        Raises:
            CapabilityError: An argument asks for what a coupler cannot give, such as a cache of keys.
        """
        heads, values = self.to_heads(*args, **kwargs)
        out = self.from_heads(self.coupler.read(heads, values, self.dropout_probability if self.training else 0.0))
        asked = self._asked(self._named(args, kwargs).get("output_attentions"))
        return self._answer(out, self.coupler.weights(heads) if asked else None)

    def to_heads(self, *args: Any, **kwargs: Any) -> tuple[Heads, Tensor]:
        """What the coupler gets to see of the inputs: queries, keys and masks, and the values."""
        named, layout = self._named(args, kwargs), self.layout
        tokens, context = named[layout.tokens], named.get(layout.context)
        own = context is None
        self._refuse(named)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in self._project(tokens, context))
        q = q if self.gain == 1.0 else q * self.gain
        causal = own and (self.causal or bool(named.get("is_causal")))
        # Where one mask is taken, it is that of what is read.
        apart = not own and layout.context_mask in self.parameter_names
        mask = named.get(layout.context_mask if apart else layout.mask)
        padding = pairs = None
        if mask is not None:
            padding, pairs = read_mask(mask, q.shape[:-2], q.shape[-2], k.shape[-2], causal=causal)
            padding = padding if padding is None else padding.expand(*q.shape[:-3], k.shape[-2])
        if pairs is not None and causal and self.coupler.promise.causal != "no" and not self.coupler.promise.pairs:
            raise CapabilityError(
                f"The mask of a causal layer forbids more than padding and order, which {type(self.coupler).__name__} "
                "cannot follow: use 'softmax' for packed or windowed sequences."
            )
        return Heads(q, k, padding if own else None, padding, pairs, causal).per_head(), v

    def _project(self, tokens: Tensor, context: Tensor | None) -> list[Tensor]:
        """Queries, keys and values; those that will be sorted in no less than single precision."""
        names, read = self.layout.projections, tokens if context is None else context
        jumps = self.coupler.jumps
        if len(names) == 1:
            project = getattr(self, names[0])
            parts = list(project(tokens).chunk(3, -1))
            if jumps:
                parts[:2] = _precisely(project, tokens).chunk(3, -1)[:2]
            return parts
        calls = (_precisely, _precisely, nn.Module.__call__) if jumps else (nn.Module.__call__,) * 3
        given = zip(calls, names, (tokens, read, read), strict=True)
        return [call(getattr(self, name), x) for call, name, x in given]

    def from_heads(self, out: Tensor) -> Tensor:
        """Heads side by side, through whatever follows them."""
        out = out.transpose(-3, -2).flatten(-2)
        for name in self.layout.output:
            out = getattr(self, name)(out)
        return out

    def _asked(self, said: bool | None) -> bool:
        """Whether somebody wants the weights: by the call, by the configuration, or by collecting them."""
        if said is None:
            said = getattr(self.config, "output_attentions", False)
        watchers = (*self._forward_hooks.values(), self.__dict__.get("forward"))
        return bool(said) or any(_collects(watcher) for watcher in watchers)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Any, Any]:
        return {**dict(zip(self.parameter_names, args, strict=False)), **kwargs}

    def _refuse(self, named: dict[Any, Any]) -> None:
        layout = self.layout
        known = (layout.tokens, layout.mask, layout.context, layout.context_mask, *HARMLESS)
        for name, given in named.items():
            if name in known or given is None or given is False:
                continue
            told = (
                "but a converted layer keeps no keys of earlier calls: call the model with use_cache=False and the "
                "whole sequence."
                if name in _CACHES
                else f"which the layout {layout.name!r} does not know: leave it out, or describe the module by a "
                "Layout of your own."
            )
            raise CapabilityError(f"{name} was given, {told}")

    def _answer(self, out: Tensor, weights: Tensor | None) -> Any:
        answer = self.layout.answer
        if isinstance(answer, str):
            return out
        held = {"output": out, "weights": weights, "weights if asked": weights, "no cache": None}
        return tuple(held[item] for item in answer if weights is not None or item != "weights if asked")

    def extra_repr(self) -> str:
        """The layout and the number of heads."""
        return f"{self.layout.name!r}, heads={self.heads}"


# A layer with a coupler, whether it was built or converted.
Layer = Attention | Converted


@cache
def _standing_for(kind: type[nn.Module]) -> type[Converted]:
    return new_class("Converted", (Converted, kind), exec_body=lambda names: names.update(__module__=__name__))


def _blank(kind: type[nn.Module]) -> Converted:
    """A module of nothing yet, that is converted and of the old class."""
    return object.__new__(_standing_for(kind))


def _precisely(project: nn.Module, x: Tensor) -> Tensor:
    """What a projection gives in single precision at least, whatever autocast and its own parameters say."""
    held = {name: tensor.to(working_dtype(tensor)) for name, tensor in project.named_parameters()}
    with torch.autocast(x.device.type, enabled=False):
        return functional_call(project, held, (x.to(working_dtype(x)),))


def _collects(watcher: Any) -> bool:
    """Whether this hook, or wrapper of a forward, is one by which a model collects attentions, and does so now.

    Of the transformers library: hooks stay and ask a variable what is wanted, wrappers stand only while they collect.
    """
    around = getattr(watcher, "__globals__", {})
    if "_active_collector" not in around:
        return "_CAN_RECORD_REGISTRY" in around
    return any(key.endswith("attentions") for key in around["_active_collector"].get() or ())
