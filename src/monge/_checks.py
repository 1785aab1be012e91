"""Input checks, each one sentence: the argument, the rule, the values, the remedy.

They run once, where a value enters the library, and never inside a loop.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._arrays import broadcast_shapes
from .errors import DeviceError, DtypeError, InputError, ShapeError

__all__ = [
    "check_batches",
    "check_choice",
    "check_clouds",
    "check_count",
    "check_device",
    "check_finite",
    "check_floating",
    "check_matrix",
    "check_non_negative",
    "check_number",
    "check_points",
    "check_same",
    "check_seed",
    "check_single",
    "check_span",
    "check_vector",
    "check_weights",
    "chosen_rows",
]


def check_choice(name: str, chosen: Any, options: Iterable[Any]) -> None:
    """``chosen`` must be one of ``options``."""
    options = tuple(options)
    if chosen not in options:
        known = ", ".join(repr(option) for option in options)
        raise InputError(f"{name}={chosen!r} is unknown: choose one of {known}.")


def check_number(
    name: str,
    number: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    strict: bool = False,
    infinity: bool = False,
) -> None:
    """``number`` must be a finite real number in ``[low, high]``; NaN never is.

    ``strict`` leaves ``low`` itself out, and ``infinity`` says that +inf has a meaning of its own and is allowed.
    """
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise InputError(f"{name} must be a number, but is {type(number).__name__} {number!r}: pass a float.")
    if infinity and number == math.inf:
        return
    largest = sys.float_info.max
    above = number > low if strict else number >= low
    if not (above and number <= high and -largest <= number <= largest):
        opening = "(" if strict or low == -math.inf else "["
        closing = ")" if high == math.inf and not infinity else "]"
        raise InputError(f"{name} must lie in {opening}{low:g}, {high:g}{closing}, but is {_told(number)}.")


def check_seed(name: str, seed: Any) -> None:
    """``seed`` must be a whole number that a generator of random numbers takes."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InputError(f"{name} must lie in [0, 2**63) and be whole, but is {_told(seed)}: take for example 0.")


def _told(value: Any) -> str:
    """A value as Python writes it; of a number that would fill the screen only how large it is."""
    long = isinstance(value, int) and value.bit_length() > 128
    return f"a number of {value.bit_length()} bits" if long else repr(value)


def check_count(name: str, count: Any, *, low: int = 1, high: int | None = None) -> None:
    """``count`` must be an integer in ``[low, high]``."""
    if isinstance(count, bool) or not isinstance(count, int) or count < low or (high is not None and count > high):
        rule = "a positive integer" if low == 1 else f"an integer, at least {low}"
        rule = rule if high is None else f"an integer between {low} and {high}"
        raise InputError(f"{name} must be {rule}, but is {_told(count)}: pass for example {name}={high or low}.")


def check_span(name: str, index: Tensor, low: int, high: int, *, rule: str, remedy: str) -> None:
    """All numbers of ``index`` must lie in ``[low, high]``, which is said as ``rule``."""
    if index.numel() and not (int(index.min()) >= low and int(index.max()) <= high):
        raise InputError(f"{name} must {rule}, but reaches from {int(index.min())} to {int(index.max())}: {remedy}.")


def check_floating(name: str, tensor: Any) -> None:
    """``tensor`` must be a real floating-point tensor."""
    if not isinstance(tensor, Tensor):
        raise DtypeError(f"{name} must be a torch.Tensor, but is {type(tensor).__name__}: use torch.as_tensor({name}).")
    if not tensor.is_floating_point():
        raise DtypeError(f"{name} must be floating-point, but is {tensor.dtype}: use {name}.float() or .double().")


def check_device(**tensors: Any) -> None:
    """All tensors, or values made of them, must live on one device; None is skipped."""
    found = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(found.values())) > 1:
        told = _listed(found.values())
        raise DeviceError(f"{_listed(found)} must live on one device, but live on {told}: move them with .to(device).")


def check_same(**tensors: Any) -> None:
    """They must share one dtype as well."""
    check_device(**tensors)
    found = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
    if len(set(found.values())) > 1:
        told = _listed(found.values())
        raise DtypeError(f"{_listed(found)} must share one dtype, but have {told}: convert them with .to(dtype).")


def _listed(things: Iterable[object]) -> str:
    """Things as a sentence names them: one, two and three."""
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last


def check_finite(name: str, tensor: Tensor, *, infinity: bool = False) -> None:
    """``tensor`` must hold no NaN, and no infinity unless ``infinity`` allows +inf."""
    if tensor.numel() == 0:
        return
    low, high = map(float, tensor.detach().aminmax())  # both are NaN if one number is
    if not (low > -math.inf and (infinity or high < math.inf)):
        bad = torch.isnan(tensor) | (tensor == -math.inf) if infinity else ~torch.isfinite(tensor)
        rule = "may hold +inf but neither NaN nor -inf" if infinity else "must hold neither NaN nor inf"
        where = tuple(int(k) for k in bad.nonzero()[0])
        raise InputError(
            f"{name} {rule}, but {int(bad.sum())} of {tensor.numel()} entries do, the first at {where}: "
            f"clean the data first, for example with torch.nan_to_num."
        )


def check_non_negative(name: str, tensor: Tensor, remedy: str) -> None:
    """``tensor`` must be finite and hold nothing below zero."""
    check_finite(name, tensor)
    low = float(tensor.detach().min()) if tensor.numel() else 0.0
    if low < 0:
        raise InputError(f"{name} must be non-negative, but its smallest entry is {low:g}: {remedy}.")


def check_matrix(name: str, matrix: Any) -> None:
    """``matrix`` must be floating and of shape (*b, n, m), n >= 1, m >= 1."""
    check_floating(name, matrix)
    if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
        raise ShapeError(
            f"{name} must be a matrix of shape (*batch, n, m) with n, m >= 1, but has shape {tuple(matrix.shape)}: add "
            f"a row or a column with {name}[None] or {name}[:, None]."
        )


def check_points(name: str, points: Any) -> None:
    """``points`` must be a finite floating tensor of shape (*b, n, d), n >= 1, d >= 1."""
    check_floating(name, points)
    if points.ndim < 2:
        raise ShapeError(
            f"{name} must have shape (*batch, n, d), but has {tuple(points.shape)}: "
            f"for points on a line use {name}[:, None]."
        )
    if points.shape[-2] == 0 or points.shape[-1] == 0:
        raise ShapeError(
            f"{name} must hold at least one point of at least one dimension, but has shape {tuple(points.shape)}: give "
            "at least one row and one column."
        )
    check_finite(name, points)


def check_batches(**shapes: Sequence[int]) -> torch.Size:
    """The common batch dimensions of all that has these leading dimensions; they must broadcast."""
    try:
        return broadcast_shapes(*shapes.values())
    except RuntimeError as error:
        told = ", ".join(str(tuple(shape)) for shape in shapes.values())
        raise ShapeError(
            f"The batch dimensions of {_listed(shapes)} must broadcast, but are {told}: give each one problem, or as "
            "many as the others."
        ) from error


def check_clouds(
    x: Any, y: Any, a: Tensor | None = None, b: Tensor | None = None, *, names: tuple[str, str] = ("x", "y")
) -> None:
    """``x`` and ``y`` must be points of one space, of one dtype and on one device, together with their weights."""
    first, second = names
    check_points(first, x)
    check_points(second, y)
    check_same(**{first: x, second: y}, a=a, b=b)
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(
            f"{first} and {second} must live in one space of one dimension, but {first} has {x.shape[-1]} coordinates "
            f"and {second} has {y.shape[-1]}: their shapes are {tuple(x.shape)} and {tuple(y.shape)}."
        )
    check_batches(**{first: x.shape[:-2], second: y.shape[:-2]})


def check_single(**clouds: Tensor) -> None:
    """Every cloud must be one cloud (n, d): for what finds one answer from all the points that it is given."""
    for name, points in clouds.items():
        if points.ndim != 2:
            raise ShapeError(
                f"{name} must be one cloud (n, d), since one answer is found for all its points, but has shape "
                f"{tuple(points.shape)}: take the problems of a batch one by one."
            )


def check_vector(name: str, vector: Any, n: int, what: str) -> None:
    """``vector`` must be floating and of shape (*b, n), one ``what``."""
    check_floating(name, vector)
    if vector.ndim < 1 or vector.shape[-1] != n:
        raise ShapeError(f"{name} must have shape (*batch, {n}), one {what}, but has {tuple(vector.shape)}.")


def check_weights(name: str, weights: Any, n: int) -> None:
    """``weights`` must be finite, non-negative, of positive mass, with shape (*b, n)."""
    check_vector(name, weights, n, "weight per point")
    check_non_negative(name, weights, "clamp or drop those points")
    if weights.numel() and bool((weights.sum(-1) == 0).any()):
        raise InputError(f"{name} must have positive mass, but all its weights are zero: give at least one point mass.")


def chosen_rows(given: Any, n: int, device: torch.device) -> slice | Tensor:
    """Rows as a slice of step one, or as a 1-D tensor of indices in [0, n)."""
    if isinstance(given, slice):
        start, stop, step = given.indices(n)
        return slice(start, max(start, stop)) if step == 1 else torch.arange(start, stop, step, device=device)
    index = torch.as_tensor(given, device=device)
    if index.numel() == 0:
        index = index.long()
    if index.dtype in (torch.bool, torch.uint8) or index.is_floating_point() or index.ndim > 1:
        raise ShapeError(
            f"rows must be a row, a slice or a list of integers, but is {index.dtype!s} of shape "
            f"{tuple(index.shape)}: turn a mask into a list with mask.nonzero()[:, 0]."
        )
    index = index.reshape(-1).long()
    check_span("rows", index, -n, n - 1, rule=f"lie in [{-n}, {n - 1}]", remedy=f"there are {n}")
    return index % n
