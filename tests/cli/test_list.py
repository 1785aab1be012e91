"""``monge list``: every kind, every name, one sentence each."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("typer")

from monge.cli import main
from monge.cli.registries import REGISTRIES


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["list", *arguments])
    return left.value.code or 0


def test_all_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    told = capsys.readouterr().out.split()
    assert {"costs", "penalties", "solvers", "couplers", "poolings", "recipes", "formats", "papers"} <= set(told)
    assert {"sqeuclidean", "tv", "simplex", "pivots", "class", "digits", ".npz", "list"} <= set(told)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_names_and_sentences(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(kind, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    registry = REGISTRIES[kind]
    assert told == {kind: {"names": {name: registry.sentence(name) for name in registry}, "faults": {}}}
    assert told[kind]["names"]
    for name, sentence in told[kind]["names"].items():
        assert len(sentence.split()) > 1, f"{name} has no sentence"


def test_an_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("colours") == 2
    assert "choose one of 'costs', 'penalties'" in capsys.readouterr().err
