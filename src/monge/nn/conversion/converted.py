"""An attention module of another library, with its projections as they were and a coupler between them."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from ...errors import CapabilityError
from .._heads import Heads
from ..couplers import Coupler
from ._mask import read_mask
from .layout import HARMLESS, Layout

__all__ = ["Converted"]

_CACHES = ("cache", "past_key_value", "past_key_values", "layer_past", "use_cache")


class Converted(nn.Module):
    """Stands where an attention module stood: the same submodules under the same names, the same call, one coupler.

    Args:
        module: the attention module; its submodules are shared, not copied.
        layout: how it is built and called.
        coupler: what takes the place of softmax.
    """

    def __init__(self, module: nn.Module, layout: Layout, coupler: Coupler) -> None:
        super().__init__()
        self.layout = layout
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
            CapabilityError: an argument asks for what a coupler cannot give, such as a cache of keys.
        """
        heads = self._heads(*args, **kwargs)
        weights = None
        if self._named(args, kwargs).get("output_attentions"):
            out, weights = heads.explain(self.coupler)
        else:
            out = heads.attend(self.coupler, self.dropout_probability if self.training else 0.0)
        return self._answer(self._merge(out), weights)

    def _heads(self, *args: Any, **kwargs: Any) -> Heads:
        """What the coupler gets to see of the inputs."""
        named, layout = self._named(args, kwargs), self.layout
        tokens, context = named[layout.tokens], named.get(layout.context)
        own = context is None
        self._refuse(named)
        if len(layout.projections) == 1:
            parts = getattr(self, layout.projections[0])(tokens).chunk(3, -1)
        else:
            read = tokens if context is None else context
            parts = [getattr(self, name)(x) for name, x in zip(layout.projections, (tokens, read, read), strict=True)]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        q = q if self.gain == 1.0 else q * self.gain
        causal = own and (self.causal or bool(named.get("is_causal")))
        mask = named.get(layout.mask if own else layout.context_mask)
        padding = pairs = None
        if mask is not None:
            padding, pairs = read_mask(mask, q.shape[-2], k.shape[-2], causal=causal)
            padding = padding if padding is None else padding.expand(*q.shape[:-3], k.shape[-2])
        if pairs is not None and causal and self.coupler.promise.causal != "no" and not self.coupler.promise.pairs:
            raise CapabilityError(
                f"The mask of a causal layer forbids more than padding and order, which {type(self.coupler).__name__} "
                "cannot follow: use 'softmax' for packed or windowed sequences."
            )
        return Heads(q, k, v, padding if own else None, padding, pairs, causal)

    def _merge(self, out: Tensor) -> Tensor:
        """Heads side by side, through whatever follows them."""
        out = out.transpose(-3, -2).flatten(-2)
        for name in self.layout.output:
            out = getattr(self, name)(out)
        return out

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Any, Any]:
        return {**dict(zip(self.parameter_names, args, strict=False)), **kwargs}

    def _refuse(self, named: dict[Any, Any]) -> None:
        layout = self.layout
        known = (layout.tokens, layout.mask, layout.context, layout.context_mask, *HARMLESS)
        for name, given in named.items():
            if name in known or given is None or given is False:
                continue
            if name in _CACHES:
                raise CapabilityError(
                    f"{name} was given, but a converted layer keeps no keys of earlier calls: call the model with "
                    "use_cache=False and the whole sequence."
                )
            raise CapabilityError(
                f"{name} was given, which the layout {layout.name!r} does not know: leave it out, or describe the "
                "module by a Layout of your own."
            )

    def _answer(self, out: Tensor, weights: Tensor | None) -> Any:
        if isinstance(self.layout.answer, str):
            return out
        held = {"output": out, "weights": weights, "weights if asked": weights, "no cache": None}
        asked = weights is not None
        return tuple(held[item] for item in self.layout.answer if asked or item != "weights if asked")

    def extra_repr(self) -> str:
        """The layout and the number of heads."""
        return f"{self.layout.name!r}, heads={self.heads}"
