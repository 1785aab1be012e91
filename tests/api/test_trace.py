"""Functions of the face are for users: inside the library they stand on the rooms below, never on each other."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType

import pytest
import torch

import monge

FACE = {
    inspect.unwrap(thing).__code__: name
    for name in monge.__all__
    if inspect.isfunction(inspect.unwrap(thing := getattr(monge, name)))
}


def entered(call: Callable[[], object]) -> set[str]:
    """The functions of the face that a call enters."""
    found: set[CodeType] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(before)
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
