"""The other commands: version, doctor, demo, cite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import monge

pytest.importorskip("typer")

from monge.cli import main
from monge.cli.colour import transfer
from monge.cli.self_test import CHECKS


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return left.value.code or 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"monge {monge.__version__}"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    told = capsys.readouterr().out
    for command in ("couple", "pairwise", "barycenter", "map", "train", "demo", "doctor", "cite", "papers"):
        assert command in told
    assert "--debug" not in told


@pytest.mark.parametrize("name", list(CHECKS))
def test_self_test(name: str) -> None:
    error, allowed = CHECKS[name]()
    assert error <= allowed


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    told = capsys.readouterr().out
    assert f"{monge.__version__}" in told
    assert torch.__version__ in told
    assert "native (C++)" in told
    assert told.count("ok: error") == len(CHECKS)


def test_doctor_notices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKS, "two points", lambda: (1.0, 1e-9))
    assert run("doctor") == 1
    told = capsys.readouterr()
    assert "WRONG: error 1.0e+00" in told.out
    assert "self-test failed" in told.err


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    assert run("demo", "--pixels", "600", "--steps", "2", "--longest", "256", "--out", str(tmp_path / "demo")) == 0
    told = capsys.readouterr().out
    for word in (
        "600 a side",
        "after 2 steps",
        "softmax",
        "pivots",
        "column error",
        "most frequent class",
        "256 tokens",
    ):
        assert word in told
    with image.open(tmp_path / "demo" / "temple.png") as picture:
        assert picture.size == (640, 427)
    with image.open(tmp_path / "demo" / "colour_transfer.png") as picture:
        assert picture.width > 1000
    assert "1,024 tokens" not in told
    with image.open(tmp_path / "demo" / "lengths.png") as picture:
        assert picture.width > 500
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {"temple.png", "colour_transfer.png", "digits", "lengths.png"}
    with image.open(tmp_path / "demo" / "digits" / "couplings.png") as picture:
        assert picture.width > 500
    assert (tmp_path / "demo" / "digits" / "report.html").exists()


def test_demo_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("demo", "--out", str(tmp_path / "file" / "demo")) == 2
    assert "could not be made" in capsys.readouterr().err


def test_colours_move() -> None:
    """The moved photograph has colours of the other one only, and dark stays dark."""
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(2, 20, 20, 1, generator=generator)
    red, blue = light[0] * torch.tensor([1.0, 0.1, 0.1]), light[1] * torch.tensor([0.1, 0.1, 1.0])
    moved = transfer(red, blue, pixels=400, generator=generator)
    assert moved.source[..., 0].max() < 0.1 < moved.source[..., 2].mean()
    assert moved.target[..., 2].max() < 0.1 < moved.target[..., 0].mean()
    assert torch.corrcoef(torch.stack([red.sum(-1).flatten(), moved.source.sum(-1).flatten()]))[0, 1] > 0.95
    assert moved.source.min() >= 0


def test_cite(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cite") == 0
    assert capsys.readouterr().out.startswith("@software{monge,")
    assert run("cite", "sinkhorn") == 0
    assert "1306.0895" in capsys.readouterr().out
    assert run("cite", "sinkhrn") == 2
    assert "not a public name" in capsys.readouterr().err
