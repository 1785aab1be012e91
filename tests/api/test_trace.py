"""Functions of the face are for users: inside the library they stand on the rooms below, never on each other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import pytest
import torch

import monge
from watching import profiled

FACE = {
    inspect.unwrap(thing).__code__: name
    for name in monge.__all__
    if inspect.isfunction(inspect.unwrap(thing := getattr(monge, name)))
}


# Files that every call passes through and that know no transport: values, checks, arrays, names.
FOUNDATION = {"_arrays.py", "_checks.py", "_sided.py", "_transforms.py", "_users_arrays.py", "_value.py"}
FOUNDATION |= {"registry.py"}
# Where numbers begin to be worked on: a kernel, or the mean of all costs, by which entropic solvers are compared.
FIRST = {"kernels/exact/assignment/__init__.py", "kernels/exact/simplex/__init__.py", "kernels/line/sort/__init__.py"}
FIRST |= {"kernels/exact/simplex/small.py", "kernels/stream/sinkhorn.py", "kernels/stream/sums.py"}
ROOT = Path(monge.__file__).parent


def on_the_way(call: Callable[[], object]) -> list[str]:
    """The files that a call enters before its first kernel, in order: of the cost and the kernels only the rooms."""
    found: list[str] = []
    there = False

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal there
        path = Path(frame.f_code.co_filename)
        if event != "call" or there or not path.is_relative_to(ROOT):
            return
        file = path.relative_to(ROOT)
        there = file.as_posix() in FIRST or (file.parts[0] == "geometry" and frame.f_code.co_name == "mean")
        place = file.parts[0] if file.parts[0] in ("geometry", "kernels") else file.as_posix()
        if not there and place not in {*FOUNDATION, "kernels", *found}:
            found.append(place)

    profiled(call, watch)
    assert there
    return found


def entered(call: Callable[[], object]) -> set[str]:
    """The functions of the face that a call enters."""
    found: set[CodeType] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    profiled(call, watch)
    return {FACE[code] for code in found & FACE.keys()}


X, Y = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0)).unbind()
CALLS: dict[str, Callable[[], object]] = {
    "couple": lambda: monge.couple(X, Y, epsilon=0.1),
    "divergence": lambda: monge.divergence(X, Y, epsilon=0.1),
    "wasserstein": lambda: monge.wasserstein(X, Y),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_face_does_not_call_itself(name: str) -> None:
    assert entered(CALLS[name]) == {name}


def test_a_call_of_the_face_is_seen() -> None:
    assert entered(lambda: [monge.couple(X, Y), monge.citation()]) == {"couple", "citation"}


WAYS: dict[str, Callable[[], object]] = {
    "exact": lambda: monge.couple(X, Y),
    "of unequal numbers": lambda: monge.couple(X, Y[:13]),
    "entropic": lambda: monge.couple(X, Y, epsilon=0.1),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_to_the_first_kernel_is_short(name: str) -> None:
    way = on_the_way(WAYS[name])
    assert way[:3] == ["api/couple.py", "problem/linear.py", "geometry"]
    assert len(way) <= 6, way


def test_a_long_way_is_seen() -> None:
    assert len(on_the_way(lambda: [monge.explain(monge.Linear.between(X, Y)), monge.wasserstein(X, Y)])) > 6
