"""Another coupler for the attention of a trained model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from monge.errors import CapabilityError, InputError
from monge.nn import Attention
from monge.nn.couplers import COUPLERS, Blend, Coupler, Softmax, build

from .converted import Converted, Layer
from .layout import LAYOUTS, Layout, find

__all__ = ["Conversion", "Replacement", "convert", "coupler_parameters"]

Factory = Callable[[int, int], Coupler]


@dataclass(frozen=True)
class Replacement:
    """One attention module that was replaced.

    Args:
        name: Where it stands in the model.
        kind: Its layout, or "MultiheadAttention".
        heads: How many heads it has.
        width: The width of a head.
        coupler: The class of its coupler.
        added: How many parameters the coupler brought.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> convert(layer, "softmax").replaced[0].coupler
        'Softmax'
    """

    name: str
    kind: str
    heads: int
    width: int
    coupler: str
    added: int


@dataclass(frozen=True)
class Conversion:
    """A converted copy of a model, and what was replaced in it; ``str`` shows it as a table.

    Args:
        model: The copy.
        replaced: Every module that has another coupler now.
        kept: Names of attention modules that ``where`` left as they were.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
        >>> convert(model, "pivots", where="layers.1.*").kept
        ('layers.0.self_attn',)
    """

    model: nn.Module
    replaced: tuple[Replacement, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        """One line a layer, and the sum."""
        wide = max(len(one.name) for one in self.replaced)
        lines = [
            f"{one.name:<{wide}}  {one.kind}, {one.heads} × {one.width} -> {one.coupler}, {one.added} parameters"
            for one in self.replaced
        ]
        added = sum(one.added for one in self.replaced)
        lines.append(f"{len(self.replaced)} replaced, {len(self.kept)} kept, {added} parameters added")
        return "\n".join(lines)


def convert(
    model: nn.Module,
    coupler: str | Factory = "pivots",
    *,
    where: str | Callable[[str], bool] = "*",
    blend: float | None = None,
    layouts: Sequence[Layout] = (),
    **options: Any,
) -> Conversion:
    """A copy of a trained model whose attention has another coupler; every weight of the checkpoint stays as it is.

    Modules are recognised by how they are built: `torch.nn.MultiheadAttention`, also inside
    `torch.nn.TransformerEncoderLayer`, and those that a `Layout` describes, such as the BERT, ViT and GPT-2 of the
    transformers library. Names in the state dict do not change; couplers add theirs.

    Try ``coupler="softmax"`` first: it must change nothing but the outputs at padding.

    Args:
        model: The trained model; it is left alone, and `match` uses it as the teacher.
        coupler: A name, as in `monge.nn.couplers.names`, or a function of the number and the width of heads.
        where: Which modules: a pattern for their names, as of files, or a function that picks names.
        blend: If given, softmax stays and a gate per head, starting at this value, mixes the coupler in;
            -4 starts at two per cent.
        layouts: Descriptions of further kinds of attention, tried before those that are built in.
        options: Of the coupler.

    Returns:
        The copy and a report.

    Raises:
        InputError: Nothing was found to replace.
        CapabilityError: A module is causal and the coupler cannot be, or the reverse, or has features that no coupler
            reproduces.

    Example:
        >>> from monge.convert import convert
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
        >>> print(convert(model, "pivots"))  # doctest: +ELLIPSIS
        layers.0.self_attn  MultiheadAttention, 2 × 8 -> Pivots, 578 parameters
        layers.1.self_attn  MultiheadAttention, 2 × 8 -> Pivots, 578 parameters
        2 replaced, 0 kept, 1156 parameters added
    """
    if isinstance(coupler, str):
        COUPLERS.require(coupler)
    known = (*layouts, *LAYOUTS)
    modules = model.named_modules(remove_duplicate=False)
    found = {name: one for name, module in modules if (one := _kind(module, known)) is not None}
    pick = where if callable(where) else lambda name: fnmatchcase(name, where)
    chosen = {name: kind for name, kind in found.items() if pick(name)}
    if not chosen:
        raise InputError(
            f"where={where!r} matches none of the attention modules, which are {sorted(found)}: name one of them."
            if found
            else f"No attention module was recognised in {type(model).__name__}: describe yours by a Layout and pass "
            "it as layouts=[...]."
        )
    made = copy.deepcopy(model)
    # By what they replace, which several places may share.
    new: dict[nn.Module, Layer] = {}
    replaced: list[Replacement] = []
    for name, kind in chosen.items():
        module = made.get_submodule(name)
        if isinstance(module, Layer):
            continue
        if module not in new:
            new[module], told = _replace(name, module, kind, coupler, blend, options)
            replaced.append(told)
        parent, _, last = name.rpartition(".")
        if name:
            setattr(made.get_submodule(parent), last, new[module])
        else:
            made = new[module]
    for encoder in made.modules():
        # Nested tensors are for the fused encoder alone, which would compute softmax attention from the weights.
        if isinstance(encoder, nn.TransformerEncoder) and any(isinstance(one, Attention) for one in encoder.modules()):
            encoder.use_nested_tensor = False
    return Conversion(made, tuple(replaced), tuple(sorted(set(found) - set(chosen))))


def coupler_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of all couplers in a model: what is new in it after a conversion.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> sum(parameter.numel() for parameter in coupler_parameters(convert(layer, "pivots").model))
        578
    """
    parts = [module for module in model.modules() if isinstance(module, Layer)]
    return list(dict.fromkeys(parameter for part in parts for parameter in part.coupler.parameters()))


def _kind(module: nn.Module, layouts: Sequence[Layout]) -> Layout | str | None:
    if isinstance(module, Layer):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return "MultiheadAttention" if type(module).forward is nn.MultiheadAttention.forward else None
    return find(module, layouts)


def _replace(
    name: str,
    module: nn.Module,
    kind: Layout | str,
    coupler: str | Factory,
    blend: float | None,
    options: dict[str, Any],
) -> tuple[Layer, Replacement]:
    if isinstance(kind, Layout):
        title, heads, width = kind.name, getattr(module, kind.heads), kind.width(module) or 0
    else:
        assert isinstance(module, nn.MultiheadAttention)
        title, heads, width = kind, module.num_heads, module.head_dim
    made = build(coupler, heads, width, **options) if isinstance(coupler, str) else coupler(heads, width)
    made = made if blend is None else Blend(Softmax(), made, heads, gate=blend)
    weight = next(module.parameters())
    made = made.to(weight.device, torch.float64 if weight.dtype == torch.float64 else None).train(module.training)
    added = sum(parameter.numel() for parameter in made.parameters())
    told = Replacement(name, title, heads, width, _told(made), added)
    if isinstance(kind, Layout):
        _check_order(name, made, kind.is_causal(module), kind.context is not None)
        return Converted(module, kind, made), told
    return _of_torch(name, module, made), told


def _of_torch(name: str, module: nn.Module, coupler: Coupler) -> Attention:
    assert isinstance(module, nn.MultiheadAttention)
    if module.bias_k is not None or module.add_zero_attn:
        raise CapabilityError(
            f"{name} adds keys of its own (add_bias_kv or add_zero_attn), which no coupler reproduces: leave it out by "
            "where=."
        )
    shared = {key: getattr(module, key) for key in ("kdim", "vdim", "dropout", "batch_first")}
    bias = module.in_proj_bias is not None
    new = Attention(module.embed_dim, module.num_heads, coupler, bias=bias, **shared)
    # The very parameters, so that whoever shares them with other modules still does.
    for key in ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj"):
        if hasattr(new, key):
            setattr(new, key, getattr(module, key))
    return new.train(module.training)


def _check_order(name: str, coupler: Coupler, causal: bool, may_cross: bool) -> None:
    kind, order = type(coupler).__name__, coupler.promise.causal
    if causal and order == "no" and not may_cross:
        able = [one for one, made in COUPLERS.items() if made.promise.causal != "no" and one != "blend"]
        raise CapabilityError(
            f"{name} is causal, and {kind} cannot be: {coupler.why_not_causal}. Use one of {', '.join(able)}."
        )
    if not causal and order == "always":
        raise CapabilityError(
            f"{name} reads the whole sequence, but {kind} reads only the tokens before: use 'pivots', which reads in "
            "both directions."
        )


def _told(coupler: Coupler) -> str:
    if isinstance(coupler, Blend):
        return f"Blend of {_told(coupler.first)} and {_told(coupler.second)}"
    return type(coupler).__name__
