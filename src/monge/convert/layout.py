"""Attention modules of other libraries, described: where the projections are, how they are called, what they answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from monge.errors import InputError

__all__ = ["LAYOUTS", "Layout", "find"]

# Arguments that say nothing about which pairs may meet, or that are honoured wherever they appear.
HARMLESS = ("is_causal", "cache_position", "position_ids", "return_dict", "output_hidden_states", "output_attentions")
_ANSWERS = {"output", "weights", "weights if asked", "no cache"}
_NEUTRAL = (nn.Identity, nn.Dropout, nn.Softmax)


@dataclass(frozen=True)
class Layout:
    """How a kind of attention module is built and called, by the names it uses; no class of it is ever imported.

    A module has this layout if it has all the submodules that are named and no others that could change the attention,
    no parameters or buffers of its own, a ``forward`` that takes all ``arguments``, and ``attributes`` of the values
    listed, where None allows that there is none. What matches must compute $softmax(s Q K^T + M) V$ with this scale.

    Args:
        name: What to call it in reports.
        projections: The three submodules that project queries, keys and values; one name if a single one gives all
            three, side by side.
        heads: The attribute that counts the heads.
        output: Submodules that the result passes, in order; none if the projection lives elsewhere.
        tokens: The argument that holds the tokens.
        mask: The argument that holds the mask.
        context: The argument that holds other tokens to read, for cross-attention; None if there is none.
        context_mask: The argument that holds their mask.
        dropout: The attribute that holds the probability of dropping a weight, or a module that has it as ``p``.
        scale: The attribute that holds the factor of the scores; None if it is one over the root of the width.
        causal: Whether every position reads only itself and what comes before, or the attribute that says so; it
            does not apply to a context.
        answer: What ``forward`` returns, a tuple of "output", "weights" (None unless asked for), "weights if asked"
            and "no cache" (None); a bare "output" in place of a tuple is a tensor.
        arguments: Names that ``forward`` must take.
        attributes: Values that attributes must have.
        extras: Submodules and buffers that may be there as well, because they do not change the attention.

    Example:
        >>> from monge.convert import Layout
        >>> mine = Layout("mine", ("to_q", "to_k", "to_v"), "n_heads", output=("to_out",), tokens="x", answer="output")
    """

    name: str
    projections: tuple[str] | tuple[str, str, str]
    heads: str
    output: tuple[str, ...] = ()
    tokens: str = "hidden_states"
    mask: str = "attention_mask"
    context: str | None = None
    context_mask: str | None = None
    dropout: str | None = None
    scale: str | None = None
    causal: bool | str = False
    answer: str | tuple[str, ...] = ("output", "weights")
    arguments: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.projections) not in (1, 3):
            raise InputError(
                f"projections must name three submodules, or one that projects all, but are {self.projections}: name "
                "those of queries, keys and values."
            )
        items = (self.answer,) if isinstance(self.answer, str) else self.answer
        if "output" not in items or not set(items) <= _ANSWERS:
            raise InputError(
                f"answer must be 'output', or a tuple with it of {sorted(_ANSWERS)}, but is {self.answer!r}."
            )

    def fits(self, module: nn.Module) -> bool:
        """Whether the module has this layout."""
        parts = (*self.projections, *self.output)
        # A bias by distance, a rotation, a norm: what is not named could change the scores.
        foreign = [name for name, child in module.named_children() if not isinstance(child, _NEUTRAL)]
        own = [name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
        return (
            all(isinstance(getattr(module, part, None), nn.Module) for part in parts)
            and {*foreign, *own} <= {*parts, *self.extras, self.dropout}
            and isinstance(getattr(module, self.heads, None), int)
            and (self.scale is None or isinstance(getattr(module, self.scale, None), float))
            and {self.tokens, *self.arguments} <= set(inspect.signature(module.forward).parameters)
            and all(getattr(module, name, None) in allowed for name, allowed in self.attributes.items())
        )

    def is_causal(self, module: nn.Module) -> bool:
        """Whether the module reads no token after the one that reads."""
        return bool(getattr(module, self.causal, False)) if isinstance(self.causal, str) else self.causal

    def width(self, module: nn.Module) -> int | None:
        """The width of a head; None if queries and keys do not come in equally many heads."""
        size, *others = {_features(getattr(module, name)) for name in self.projections}
        # A single projection gives queries, keys and values side by side.
        parts = getattr(module, self.heads) * (3 // len(self.projections))
        return None if others or not size or size % parts else size // parts


def find(module: nn.Module, layouts: Sequence[Layout]) -> Layout | None:
    """The first layout that fits.

    Args:
        module: An attention module.
        layouts: Descriptions, the most particular ones first.

    Returns:
        The layout, or None if there is none.

    Example:
        >>> from monge.convert.layout import LAYOUTS, find
        >>> find(torch.nn.Linear(2, 2), LAYOUTS) is None
        True
    """
    return next((one for one in layouts if one.fits(module) and one.width(module)), None)


def _features(projection: nn.Module) -> int | None:
    """How many numbers a projection gives per token; transposed linear maps call it ``nf``."""
    return getattr(projection, "out_features", getattr(projection, "nf", None))


_BERT = Layout(
    "BERT, ViT, pairs",
    ("query", "key", "value"),
    "num_attention_heads",
    context="encoder_hidden_states",
    context_mask="encoder_attention_mask",
    dropout="dropout",
    causal="is_causal",
    attributes={"position_embedding_type": ("absolute", None)},
)
_DECODER = replace(
    _BERT,
    name="BERT, decoder, pairs",
    causal="is_decoder",
    arguments=("output_attentions", "past_key_values"),
    attributes={**_BERT.attributes, "is_decoder": (True,)},
)
_GPT2 = Layout(
    "GPT-2, pairs",
    ("c_attn",),
    "num_heads",
    ("c_proj", "resid_dropout"),
    dropout="attn_dropout",
    causal=True,
    attributes={
        "is_cross_attention": (False, None),
        "scale_attn_weights": (True, None),
        "scale_attn_by_inverse_layer_idx": (False, None),
    },
    extras=("bias", "masked_bias"),
)
_VIT = Layout(
    "ViT, projections",
    ("q_proj", "k_proj", "v_proj"),
    "num_attention_heads",
    ("o_proj",),
    dropout="attention_dropout",
    scale="scaling",
    causal="is_causal",
)

# Several generations of one library differ in what they return, and tell so by the arguments that they take.
LAYOUTS = (
    replace(
        _DECODER,
        name="BERT, decoder",
        answer=("output", "weights if asked", "no cache"),
        arguments=("output_attentions", "past_key_value"),
    ),
    _DECODER,
    replace(
        _BERT,
        name="BERT, ViT",
        causal=False,
        answer=("output", "weights if asked"),
        arguments=("output_attentions",),
        attributes={**_BERT.attributes, "is_decoder": (False, None)},
    ),
    _BERT,
    replace(_GPT2, name="GPT-2", answer=("output", "no cache", "weights if asked"), arguments=("layer_past",)),
    _GPT2,
    replace(
        _VIT,
        name="CLIP",
        heads="num_heads",
        output=("out_proj",),
        dropout="dropout",
        scale="scale",
        attributes={"is_decoder": (None,)},
    ),
    _VIT,
    Layout(
        "DistilBERT",
        ("q_lin", "k_lin", "v_lin"),
        "n_heads",
        ("out_lin",),
        dropout="dropout",
        scale="scaling",
        causal="is_causal",
    ),
    Layout(
        "timm",
        ("qkv",),
        "num_heads",
        ("proj", "proj_drop"),
        tokens="x",
        mask="attn_mask",
        dropout="attn_drop",
        scale="scale",
        answer="output",
    ),
)
