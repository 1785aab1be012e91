"""How much to move: a penalty, a mass, the knee, or all that can be moved."""

from __future__ import annotations

import torch
from torch import Tensor

from monge._arrays import broadcast_shapes
from monge._checks import check_choice, check_floating, check_number
from monge.errors import InputError

__all__ = ["Amount", "stopping"]

Amount = float | Tensor | None


def stopping(
    penalty: Amount, mass: Amount | str, n: int, m: int, a: Tensor | None, b: Tensor | None, like: Tensor
) -> tuple[str, Tensor]:
    """The rule and the level that `kernels.partial_cost` wants; the level broadcasts to the batch, in float64."""
    if penalty is not None and mass is not None:
        raise InputError(
            f"penalty and mass exclude each other, but penalty={penalty!r} and mass={mass!r} were given: a penalty "
            "settles the mass by itself, drop one of them."
        )
    if penalty is not None:
        return "penalty", _number("penalty", penalty, like)
    if isinstance(mass, str):
        check_choice("mass", mass, ("knee",))
        return "knee", like.new_zeros((), dtype=torch.float64)
    if mass is not None:
        return "mass", _number("mass", mass, like)
    whole = [
        like.new_tensor(float(count)) if weights is None else weights.detach().double().sum(-1)
        for count, weights in ((n, a), (m, b))
    ]
    broadcast_shapes(whole[0].shape, whole[1].shape)
    return "mass", torch.minimum(whole[0].double(), whole[1].double())


def _number(name: str, given: float | Tensor, like: Tensor) -> Tensor:
    if not isinstance(given, Tensor):
        check_number(name, given, low=0.0)
        return like.new_tensor(float(given), dtype=torch.float64)
    check_floating(name, given)
    if not bool(((given >= 0) & given.isfinite()).all()):
        raise InputError(
            f"{name} must be finite and not negative, but reaches from {float(given.min()):g} to "
            f"{float(given.max()):g}: for everything that can be moved leave out penalty and mass."
        )
    return given.to(device=like.device, dtype=torch.float64)
