"""Arrays as users have them: public functions take them in as tensors, and give answers back in the caller's kind.

Below the public functions there are only tensors. Which arguments hold arrays is read from the annotations: positional
ones are the data of a call, whose float types are brought together; keyword-only ones are options, which follow the
data.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from ._arrays import is_mapped, working_dtype
from ._sided import Sided
from ._transforms import casting, lending, transformable, transforming
from ._value import Value
from .errors import DeviceError, DtypeError, InputError, PrecisionWarning, PromotionWarning, ShapeError

__all__ = ["answers_in_kind", "take_fields", "take_parts", "takes_arrays", "with_tensors"]

_F = TypeVar("_F", bound=Callable[..., Any])
# The dimensions in an annotation such as Float[Tensor, "*b n d"].
_DIMENSIONS = re.compile(r"Float\[Tensor, *['\"]([^'\"]*)")
# Numbers of channels, and the least size, of what is taken for a picture: no space has so many dimensions.
_CHANNELS, _PICTURE = (1, 3), 4
_FLOATS = (np.float16, np.float32, np.float64)


@overload
def takes_arrays(function: _F) -> _F: ...
@overload
def takes_arrays(*, constant: bool | Callable[[Any], bool]) -> Callable[[_F], _F]: ...
def takes_arrays(function: Any = None, *, constant: bool | Callable[[Any], bool] = False) -> Any:
    """A decorator: the function of tensors as a function of arrays, and as a node of every transform.

    Numbers of NumPy, lists, integers, and what speaks NumPy's protocol or DLPack become tensors, without a copy where
    torch can share the memory. Data of different float types are promoted as torch promotes them, with a warning;
    integers and lists take the type of the others. Tensors in the answer become NumPy arrays if some data are, and none
    is a tensor. If all arguments are tensors of one type, nothing is done.

    Args:
        function: A function, or a method, whose annotations say where arrays stand.
        constant: As in `transformable`.
    """
    if function is None:
        return functools.partial(takes_arrays, constant=constant)
    node = transformable(constant=constant)(function)
    signature, roles = inspect.signature(function), _roles(function)

    @functools.wraps(function)
    def entered(*args: Any, **kwargs: Any) -> Any:
        gives_numpy = False
        if not _settled((*args, *kwargs.values())):
            bound = signature.bind(*args, **kwargs)
            gives_numpy = _convert(bound.arguments, roles)
            args, kwargs = bound.args, bound.kwargs
        # Called from here, so that warnings count one frame between a function and its caller.
        answer = node(*args, **kwargs) if transforming() or casting() or lending() else function(*args, **kwargs)
        return _in_numpy(answer) if gives_numpy else answer

    return entered


# ---------------------------------------------------------------------- what may pass as it is


def _settled(given: Iterable[Any]) -> bool:
    """Whether all are tensors of one float type, or nothing like arrays."""
    first = None
    for one in given:
        sort = _SORTS.get(type(one)) or _sort(type(one))
        if sort == "other":
            continue
        if sort == "array" or (sort == "tensor" and one.ndim > 3):
            return False
        dtype = one.dtype
        if first is None:
            first = dtype
            if not dtype.is_floating_point:
                return False
        elif dtype is not first:
            return False
    return True


_SORTS: dict[type, str] = {}


def _sort(kind: type) -> str:
    """Tensors, arrays of others, values with a float type (costs, plans and maps), and all else."""
    like = issubclass(kind, (list, tuple, np.ndarray, np.generic)) or hasattr(kind, "__array__")
    maps = issubclass(kind, Value) and any("__call__" in vars(base) for base in kind.__mro__) and not kind._any_dtype
    if issubclass(kind, Tensor):
        found = "tensor"
    elif issubclass(kind, Sided) or maps:
        found = "value"
    else:
        found = "array" if like or hasattr(kind, "__dlpack__") else "other"
    return _SORTS.setdefault(kind, found)


# ---------------------------------------------------------------------- what the arguments are


class _Role(NamedTuple):
    """What an annotation says: whether it is data, one number perhaps, a list of arrays, clouds of a batch, a pair."""

    data: bool
    number: bool
    many: bool
    clouds: bool
    pair: bool


def _roles(function: Callable[..., Any]) -> dict[str, _Role]:
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        told = str(parameter.annotation)
        shape = _DIMENSIONS.search(told)
        core = [part for part in shape[1].split() if not part.startswith("*")] if shape else []
        data = parameter.kind is not parameter.KEYWORD_ONLY
        if name == "self" or "Tensor" in told or "Geometry" in told or "GivenMeasure" in told:
            many = "Sequence[" in told and "Sequence[float]" not in told
            batch = bool(shape) and "*" in shape[1]  # type: ignore[index]
            found[name] = _Role(
                data, told.startswith("float"), many, data and batch and len(core) > 1, "tuple[" in told
            )
    return found


@dataclass(frozen=True)
class _Found:
    """One array of a call.

    Args:
        name: What users call it.
        held: A tensor, or a value of tensors.
        role: What its argument is.
        kind: "tensor", "numpy", "literal" for lists, "value".
        free: Whether it has no float type of its own: whole numbers, and numbers of Python.
    """

    name: str
    held: Any
    role: _Role
    kind: str
    free: bool = False

    @property
    def counts(self) -> bool:
        """Whether it has a say in the float type of the call."""
        return self.role.data and not self.free and self.held.dtype.is_floating_point


def _convert(arguments: dict[str, Any], roles: dict[str, _Role], frames: int = 0) -> bool:
    """Bring the arrays among the arguments together, in place; and whether the answer is due in NumPy.

    ``frames`` more than usual lie between a warning and the caller.
    """
    found: list[_Found] = []
    opened = {name: _opened(name, roles.get(name), held, found) for name, held in arguments.items()}
    kinds = {one.kind for one in found if one.role.data} or {one.kind for one in found}
    gives_numpy = "numpy" in kinds and "tensor" not in kinds
    if found:
        _check_pictures([one for one in found if one.role.clouds])
        types, device = _common_types(found), _common_device(found)
        ours = any(one.kind == "tensor" and one.counts for one in found)
        cast = {id(one): _cast(one, types.of(one), device, not ours) for one in found}
        _warn_of_types(found, types, 4 + frames)
        _warn_of_rounding(found, cast, 4 + frames)
        opened = {name: _closed(held, cast) for name, held in opened.items()}
    arguments.update(opened)
    return gives_numpy


def _opened(name: str, role: _Role | None, held: Any, found: list[_Found]) -> Any:
    """The argument with a `_Found` in place of every array."""
    if isinstance(held, np.generic):
        return held.item()
    sort = _sort(type(held))
    if role is None or sort == "other" or (sort == "value" and not role.data):
        return held
    if isinstance(held, (list, tuple)) and role.many:
        parts = [_opened_measure(f"{name}[{k}]", role, one, found) for k, one in enumerate(held)]
        return tuple(parts) if isinstance(held, tuple) else parts
    if isinstance(held, tuple) and role.pair:
        return tuple(_opened(name, role._replace(pair=False), one, found) for one in held)
    one = _found(name, role, held)
    found.append(one)
    return one


def _opened_measure(name: str, role: _Role, held: Any, found: list[_Found]) -> Any:
    """A cloud, or a pair of a cloud and weights, in a list of measures."""
    role = role._replace(many=False)
    if not isinstance(held, tuple):
        return _opened(name, role, held, found)
    if len(held) != 2:
        return held
    cloud, weights = held
    return _opened(name, role, cloud, found), _opened(f"the weights of {name}", role, weights, found)


def _closed(opened: Any, cast: dict[int, Any]) -> Any:
    """The argument with tensors again."""
    if isinstance(opened, (list, tuple)):
        return type(opened)(_closed(one, cast) for one in opened)
    return cast[id(opened)] if isinstance(opened, _Found) else opened


# ---------------------------------------------------------------------- one array


def _found(name: str, role: _Role, held: Any) -> _Found:
    if _sort(type(held)) == "value":
        return _Found(name, held, role, "value")
    if isinstance(held, Tensor):
        return _Found(name, held, role, "tensor", _is_integer(held))
    if isinstance(held, (list, tuple)):
        if _has_tensors(held):
            stacked = _stacked(name, held)
            return _Found(name, stacked, role, "tensor", _is_integer(stacked))
        first: Any = held
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        tensor = _from_numpy(name, _as_numpy(name, held))
        free = isinstance(first, (int, float)) and not isinstance(first, np.generic)
        return _Found(name, tensor, role, "literal", free or _is_integer(tensor))
    if not isinstance(held, np.ndarray) and hasattr(held, "__dlpack__"):
        tensor = torch.from_dlpack(held)
        return _Found(name, tensor, role, "tensor", _is_integer(tensor))
    tensor = _from_numpy(name, _as_numpy(name, held))
    return _Found(name, tensor, role, "numpy", _is_integer(tensor))


def _is_integer(held: Any) -> bool:
    dtype = held.dtype
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def _has_tensors(held: Sequence[Any]) -> bool:
    return any(isinstance(one, Tensor) or (isinstance(one, (list, tuple)) and _has_tensors(one)) for one in held)


def _stacked(name: str, held: Any) -> Tensor:
    """Tensors of a list as one, in the graph of autograd."""
    if not isinstance(held, (list, tuple)):
        return torch.as_tensor(held)
    parts = [_stacked(name, one) for one in held]
    try:
        return torch.stack(parts)
    except (RuntimeError, TypeError) as error:
        told = ", ".join(sorted({f"{tuple(part.shape)} {_short(part.dtype)} on {part.device}" for part in parts}))
        raise ShapeError(
            f"{name} is a list of tensors that do not make one tensor, since they are {told}: pass one tensor."
        ) from error


def _as_numpy(name: str, held: Any) -> np.ndarray:
    try:
        array = np.asanyarray(held)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} must be an array of numbers, but its entries do not make one: give all rows one length."
        ) from error
    if np.ma.is_masked(array):
        raise InputError(
            f"{name} must hold a number everywhere, but {int(np.ma.count_masked(array))} of its {array.size} entries "
            "are masked: leave those points out, or give them the weight zero and any coordinates with .filled(0)."
        )
    return np.asarray(array)


def _from_numpy(name: str, array: np.ndarray) -> Tensor:
    """The array as a tensor that shares its memory, if torch can look at it and may write there."""
    dtype = array.dtype
    if dtype.type not in _FLOATS and dtype.kind not in "iu":
        remedy = {
            "c": "pass real and imaginary parts as two coordinates",
            "f": f"use {name}.astype('float64')",
        }.get(dtype.kind, f"convert it, as in numpy.asarray({name}, dtype='float64')")
        raise DtypeError(f"{name} must hold real numbers, but is an array of {dtype}: {remedy}.")
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    if not array.flags.writeable or any(step < 0 or step % dtype.itemsize for step in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


# ---------------------------------------------------------------------- all of them together


class _Types(NamedTuple):
    """The float types of a call: weights may be in float32 beside clouds and costs in half precision."""

    clouds: torch.dtype
    weights: torch.dtype

    def of(self, one: _Found) -> torch.dtype:
        """The type that an array should have."""
        return self.clouds if one.role.clouds or one.kind == "value" else self.weights


def _common_types(found: list[_Found]) -> _Types:
    """What torch promotes the data to."""
    counted = [one for one in found if one.counts]
    if not counted:
        return _Types(torch.get_default_dtype(), torch.get_default_dtype())
    common = _promoted(counted)
    clouds = [one for one in counted if one.role.clouds or one.kind == "value"]
    only = _promoted(clouds) if clouds else common
    return _Types(only if working_dtype(only) == common else common, common)


def _promoted(found: list[_Found]) -> torch.dtype:
    return functools.reduce(torch.promote_types, [one.held.dtype for one in found])


def _common_device(found: list[_Found]) -> torch.device:
    """Where the tensors are; arrays of NumPy can only meet those in main memory."""
    placed = next((one for one in found if one.kind in ("tensor", "value")), None)
    device = torch.device("cpu") if placed is None else placed.held.device
    array = next((one for one in found if one.kind == "numpy"), None)
    if placed is not None and array is not None and device.type != "cpu":
        raise DeviceError(
            f"{placed.name} lives on {device}, but {array.name} is a NumPy array, which lives in main memory: pass "
            f"torch.as_tensor({array.name}, device='{device}')."
        )
    return device


def _cast(one: _Found, dtype: torch.dtype, device: torch.device, all_follow: bool) -> Any:
    """The array in a float type; options that are tensors, beside such data, are left to the checks."""
    held = one.held
    if one.kind == "literal":
        return held.to(device, dtype)
    follows = all_follow and not one.role.number and held.dtype.is_floating_point
    taken = one.free or one.counts or one.kind == "numpy" or follows
    return held.to(dtype) if taken and held.dtype != dtype else held


def _warn_of_types(found: list[_Found], types: _Types, level: int) -> None:
    if not any(one.counts and one.held.dtype != types.of(one) and not _is_whole(one.held) for one in found):
        return
    named: dict[str, list[str]] = {}
    for one in found:
        if one.counts:
            named.setdefault(_short(one.held.dtype), []).append("the plan" if one.name == "self" else one.name)
    told = [f"{', '.join(names[:3])}{', ...' * (len(names) > 3)} in {dtype}" for dtype, names in named.items()]
    warnings.warn(
        f"{' and '.join(told)}: the computation is in {_short(types.weights)}. Convert them to one float type yourself "
        "to choose another.",
        PromotionWarning,
        stacklevel=level,
    )


def _warn_of_rounding(found: list[_Found], cast: dict[int, Any], level: int) -> None:
    """Integers may have more digits than the float type."""
    if is_mapped():
        return
    for one in found:
        if _is_integer(one.held) and bool((cast[id(one)].double() != one.held.double()).any()):
            warnings.warn(
                f"{one.name} holds whole numbers that {_short(cast[id(one)].dtype)} rounds: pass it as float64.",
                PrecisionWarning,
                stacklevel=level,
            )


def _is_whole(held: Any) -> bool:
    """Whether a value, such as a grid of pixels, holds whole numbers only, which are the same in any type."""
    return isinstance(held, Value) and all(bool((t == t.round()).all()) for t in held.detach()._tensors())


def _check_pictures(clouds: list[_Found]) -> None:
    """Refuse (*b, channels, size, size), which may be clouds, but hardly are."""
    shapes = [tuple(one.held.shape) for one in clouds if isinstance(one.held, Tensor)]
    if not shapes or not all(
        len(shape) > 3 and shape[-3] in _CHANNELS and shape[-2] == shape[-1] >= _PICTURE for shape in shapes
    ):
        return
    name, (*_, channels, size, _) = clouds[0].name, shapes[0]
    raise ShapeError(
        f"{name} of shape {shapes[0]} looks like pictures with {channels} channel{'s' * (channels > 1)}, and would be "
        f"read as clouds of {size} points in {size} dimensions: pass the weights of pictures as a= and b= beside "
        f"Grid(({size}, {size})), as in couple(Grid(({size}, {size})), a={name}[:, 0], ...); if they are clouds, pass "
        f"{name}.flatten(0, -3)."
    )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---------------------------------------------------------------------- the constructors of values

_DATA = _Role(data=True, number=False, many=False, clouds=False, pair=False)
_FIELDS: dict[type, tuple[dict[str, _Role], tuple[str, ...]]] = {}


def take_fields(self: Value) -> None:
    """Turn the arrays, lists and integers that a value was constructed from into tensors, in place.

    A value holds tensors only. Tensors of different float types are left to its checks.
    """
    roles, indices = _FIELDS.get(type(self)) or _FIELDS.setdefault(type(self), _fields(type(self)))
    contents = self._contents()
    if all(_is_taken(contents[name]) for name in roles) and all(_is_taken(contents[name], True) for name in indices):
        return
    found = {name: contents[name] for name in roles}
    _convert(found, roles, frames=2)
    for name in indices:
        if not _is_taken(contents[name], True):
            index = _found(name, _DATA, contents[name]).held
            if not _is_integer(index):
                raise DtypeError(f"{name} must hold whole numbers, but is {_short(index.dtype)}: make them integers.")
            found[name] = index.long()
    for name, content in found.items():
        object.__setattr__(self, name, content)


def take_parts(name: str, parts: Sequence[Any]) -> list[Any]:
    """The parts of a field that is a tuple, with tensors of one float type in place of arrays, lists and integers."""
    named = {f"{name}[{k}]": part.item() if isinstance(part, np.generic) else part for k, part in enumerate(parts)}
    if not all(_is_taken(part) for part in named.values()):
        _convert(named, dict.fromkeys(named, _DATA), frames=3)
    return list(named.values())


def _is_taken(content: Any, index: bool = False) -> bool:
    if isinstance(content, Tensor):
        return index or not _is_integer(content)
    return isinstance(content, Value) or (_SORTS.get(type(content)) or _sort(type(content))) != "array"


def _fields(kind: type) -> tuple[dict[str, _Role], tuple[str, ...]]:
    """The fields that hold float numbers, values or marginals, and those that hold whole numbers."""
    roles, indices = {}, []
    for name, note in ((field.name, str(field.type)) for field in fields(kind)):  # type: ignore[arg-type]
        if note.startswith("Int["):
            indices.append(name)
        elif note.startswith(("Float[", "float | ", "Geometry", "Marginal", "Linear", "torch.Tensor", "Tensor")):
            roles[name] = _DATA._replace(number=note.startswith("float"))
    return roles, tuple(indices)


# ---------------------------------------------------------------------- the answer


def _in_numpy(answer: Any) -> Any:
    """The tensors of an answer as arrays, one number as a number; what autograd must follow stays a tensor."""
    if isinstance(answer, Tensor):
        return answer if answer.requires_grad else answer.contiguous().numpy()[()]
    if isinstance(answer, tuple):
        parts = [_in_numpy(one) for one in answer]
        return type(answer)._make(parts) if hasattr(answer, "_make") else tuple(parts)  # type: ignore[attr-defined]
    if isinstance(answer, Value) and answer._gives_numpy:
        held = answer._contents().items()
        return answer._replace(**{name: _in_numpy(part) for name, part in held if isinstance(part, Tensor)})
    return answer


_V = TypeVar("_V", bound=Value)


def with_tensors(answer: _V) -> _V:
    """An answer that may hold arrays of NumPy, with tensors in their place."""
    held = answer._contents().items()
    arrays = {name: torch.as_tensor(part) for name, part in held if isinstance(part, (np.ndarray, np.generic))}
    return answer._replace(**arrays) if arrays else answer


def answers_in_kind(question: Callable[[_V], Tensor]) -> Callable[[_V], Any]:
    """A decorator for a question to an answer, which is computed with tensors and given back as the answer was."""

    @functools.wraps(question)
    def asked(self: _V) -> Any:
        torched = with_tensors(self)
        return question(self) if torched is self else _in_numpy(question(torched))

    return asked
