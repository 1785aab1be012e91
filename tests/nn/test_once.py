"""Arguments are taken apart once, and every public definition shows how it is used."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest
import torch

import monge.convert
import monge.nn
from monge.nn import Attention
from monge.nn.functional import pivot_attention
from watching import profiled

from . import small

VALIDATIONS = {"per_head", "checked", "as_pair_mask"}


def entered(function) -> dict[str, int]:
    """How often each check of arguments, and each function of the attention room, is entered."""
    counts: dict[str, int] = {}

    def watch(frame, event, _):
        if event == "call" and "/monge/nn/" in frame.f_code.co_filename:
            counts[frame.f_code.co_name] = counts.get(frame.f_code.co_name, 0) + 1

    profiled(function, watch)
    return counts


class TestOnce:
    @pytest.mark.parametrize("name", ["pivots", "softmax", "sinkhorn", "linear", "blend", "hybrid", "prior", "qr"])
    @pytest.mark.parametrize("ask", ["forward", "couple"])
    def test_attention_takes_its_arguments_apart_once(self, name: str, ask: str) -> None:
        attention, x = Attention(16, 4, small.make(name, 4, 4)), torch.randn(2, 9, 16)
        pad = torch.arange(9) >= torch.tensor([[9], [4]])
        counts = entered(lambda: getattr(attention, ask)(x, key_padding_mask=pad))
        assert {name: counts.get(name, 0) for name in VALIDATIONS} == dict.fromkeys(VALIDATIONS, 1)
        assert counts["to_heads"] == counts["_admit"] == 1

    def test_functions_take_their_arguments_apart_once(self) -> None:
        q, k, v, z = torch.randn(4, 2, 9, 8).unbind()
        counts = entered(lambda: pivot_attention(q, k, v, z, iterations=2))
        assert counts["checked"] == counts["as_pair_mask"] == counts["meet"] == 1
        assert "per_head" not in counts


def definitions() -> list[tuple[str, object]]:
    """Every public class and function of the rooms, by where it is written."""
    found = {}
    for room in (monge.nn, monge.convert):
        names = [room.__name__, *(m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + "."))]
        for module in (importlib.import_module(name) for name in names):
            for public in getattr(module, "__all__", ()):
                thing = getattr(module, public)
                private = "._" in module.__name__
                if not private and (inspect.isclass(thing) or inspect.isroutine(thing)):
                    found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return sorted(found.items())


@pytest.mark.parametrize(("name", "thing"), definitions(), ids=lambda one: one if isinstance(one, str) else "")
def test_every_definition_shows_an_example(name: str, thing) -> None:
    told = inspect.getdoc(thing) or ""
    assert ">>>" in told, f"{name} shows no example"
    example = told[told.index(">>>") :]
    assert not re.search(r"\._[a-z]", example), f"{name}: an example calls what is private"
