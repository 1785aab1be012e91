"""The two stages after a conversion: match what the old attention gave, layer by layer; then the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from monge._checks import check_choice, check_number
from monge._value import Value, value
from monge.errors import InputError
from monge.nn import Attention
from monge.nn.couplers import Blend, Coupler, Heads, Softmax

from .conversion import coupler_parameters
from .converted import Layer

__all__ = ["LayerLosses", "fine_tune", "match"]

# Arguments that ask for attention weights, which matching makes for itself if it needs them.
_ANSWER = ("need_weights", "average_attn_weights", "output_attentions")

# Arguments of a call, by place and by name, and its output.
_Call = tuple[tuple[Any, ...], dict[str, Any], Tensor]


@value
class LayerLosses(Value):
    """How far every converted layer was from the old one, step by step.

    Args:
        names: The layers.
        losses: A row for every step.

    Example:
        >>> told = LayerLosses(("layers.0.self_attn",), torch.tensor([[0.5], [0.25]]))
        >>> print(told)
        layers.0.self_attn: 0.5 -> 0.25
    """

    names: tuple[str, ...]
    losses: Float[Tensor, "steps layers"]

    def __str__(self) -> str:
        """The first and the last loss of every layer."""
        ends = zip(self.names, self.losses[0].tolist(), self.losses[-1].tolist(), strict=True)
        return "\n".join(f"{name}: {first:.4g} -> {last:.4g}" for name, first, last in ends)


def match(
    model: nn.Module,
    original: nn.Module,
    batches: Iterable[Any],
    *,
    objective: str = "outputs",
    lr: float = 1e-2,
) -> LayerLosses:
    r"""First stage: every converted layer learns to give what the old one gave, with only its coupler free.

    The frozen original runs on every batch; each converted layer gets the inputs that its predecessor got, so that
    layers learn side by side and no error adds up. Of a blend the second coupler learns, as if it were alone.

    Args:
        model: The ``model`` of a `Conversion`; the parameters of its couplers change, nothing else.
        original: The model that was converted.
        batches: One step each: a tensor, a tuple of arguments, or a mapping of named ones.
        objective: "outputs", the squared error of the output of the layer relative to its variance; or "maps", the
            cross-entropy of the attention matrices, which takes memory n².
        lr: Of Adam.

    Returns:
        The losses.

    Raises:
        InputError: No coupler of the model has parameters, there is no batch, or the two models do not belong
            together.

    Example:
        >>> from monge.convert import convert
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
        >>> made = convert(model, "pivots").model
        >>> batches = [torch.randn(2, 10, 16) for _ in range(3)]
        >>> match(made, model, batches).losses.shape
        torch.Size([3, 2])

    Source: LOTFormer, arXiv 2509.23436, for the stages.
    """
    check_choice("objective", objective, ("outputs", "maps"))
    check_number("lr", lr, low=0.0, strict=True)
    layers = _layers(model, original)
    learners = {name: _learner(layer) for name, (layer, _) in layers.items()}
    free = [p for learner in learners.values() for p in learner.parameters() if p.requires_grad]
    if not free:
        kinds = sorted({type(learner).__name__ for learner in learners.values()})
        raise InputError(f"{', '.join(kinds)} has no parameters that match could train: continue with fine_tune.")
    optimizer = torch.optim.Adam(free, lr=lr)
    losses = []
    for batch in batches:
        with _seen({name: old for name, (_, old) in layers.items()}) as calls, _frozen(original), torch.no_grad():
            _call(original, batch)
        if missing := sorted(set(layers) - set(calls)):
            raise InputError(f"original does not call {', '.join(missing)} on this batch: leave them out by where=.")
        told = []
        for name, learner in learners.items():
            args, kwargs, out = calls[name]
            layer = layers[name][0]
            with torch.no_grad():
                heads, values = layer.to_heads(*args, **kwargs)
            with torch.enable_grad():
                if objective == "outputs":
                    loss = _outputs(layer, heads, learner.read(heads, values), out)
                else:
                    loss = _maps(learner, heads)
                loss.backward(inputs=[p for p in learner.parameters() if p.requires_grad])
            told.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(torch.stack(told))
    if not losses:
        raise InputError("batches is empty: match takes one step for every batch.")
    return LayerLosses(tuple(layers), torch.stack(losses).cpu())


def fine_tune(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    *,
    lr: float = 1e-5,
    coupler_lr: float = 1e-3,
) -> Float[Tensor, " steps"]:
    """Second stage: the task, with all parameters free; couplers, which are new, learn faster than the rest.

    Args:
        model: The ``model`` of a `Conversion`.
        loss: Of the model on a batch.
        batches: One step each.
        lr: Of AdamW for what the checkpoint held.
        coupler_lr: Of AdamW for the couplers.

    Returns:
        The loss of every step.

    Raises:
        InputError: There is no batch.

    Example:
        >>> from monge.convert import convert
        >>> layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
        >>> made = convert(model, "pivots").model
        >>> batches = [torch.randn(2, 10, 16) for _ in range(3)]
        >>> fine_tune(made, lambda model, x: model(x).square().mean(), batches).shape
        torch.Size([3])
    """
    new = set(coupler_parameters(model))
    groups = [
        {"params": [p for p in model.parameters() if p not in new and p.requires_grad], "lr": lr},
        {"params": [p for p in new if p.requires_grad], "lr": coupler_lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    losses = []
    for batch in batches:
        now = loss(model, batch)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        losses.append(now.detach())
    if not losses:
        raise InputError("batches is empty: fine_tune takes one step for every batch.")
    return torch.stack(losses).cpu()


def _layers(model: nn.Module, original: nn.Module) -> dict[str, tuple[Layer, nn.Module]]:
    old = dict(original.named_modules())
    layers: dict[str, tuple[Layer, nn.Module]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, Layer) and not isinstance(old.get(name, layer), Layer):
            layers[name] = (layer, old[name])
    if not layers:
        raise InputError(
            "model must have a converted layer that replaces a layer of original, but has none: pass "
            "convert(original, ...).model and original."
        )
    return layers


def _learner(layer: Layer) -> Coupler:
    coupler = layer.coupler
    return coupler.second if isinstance(coupler, Blend) else coupler


def _outputs(layer: Layer, heads: Heads, read: Tensor, out: Tensor) -> Tensor:
    made, out = layer.from_heads(read), out.detach()
    present = torch.ones(out.shape[:-1], dtype=torch.bool, device=out.device)
    if heads.query_padding is not None:
        turned = isinstance(layer, Attention) and not layer.batch_first and out.ndim == 3
        padding = heads.query_padding[..., 0, :]
        present = ~(padding.mT if turned else padding)
    weight = present[..., None].to(out.dtype)
    mean = (weight * out).flatten(0, -2).sum(0) / weight.sum().clamp_min(1)
    spread = (weight * (out - mean).square()).sum()
    return (weight * (made - out).square()).sum() / spread.clamp_min(torch.finfo(out.dtype).tiny)


def _maps(learner: Coupler, heads: Heads) -> Tensor:
    with torch.no_grad():
        wanted = Softmax().weights(heads)
    given = learner.weights(heads)
    present = (wanted.sum(-1) > 0).to(given.dtype)
    entropy = -(wanted * given.clamp_min(1e-8).log()).sum(-1)
    return (present * entropy).sum() / present.sum().clamp_min(1)


@contextmanager
def _seen(modules: dict[str, nn.Module]) -> Iterator[dict[str, _Call]]:
    """Arguments and output of the modules while the model runs."""
    calls: dict[str, _Call] = {}

    def record(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        kwargs = {key: given for key, given in kwargs.items() if key not in _ANSWER}
        calls[name] = (args, kwargs, out[0] if isinstance(out, tuple) else out)

    handles = [
        module.register_forward_hook(partial(record, name), with_kwargs=True) for name, module in modules.items()
    ]
    # The fused encoder of torch would pass its attention by, and what hangs on it.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield calls
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for handle in handles:
            handle.remove()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """In evaluation, and afterwards as before."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    else:
        model(batch)
