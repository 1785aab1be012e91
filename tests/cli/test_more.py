"""``monge pairwise``, ``barycenter`` and ``map``, standard input, and files that hold several arrays."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import monge

pytest.importorskip("typer")

from monge.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in a folder with three clouds; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for k, cloud in enumerate(clouds()):
        np.save(tmp_path / f"{k}.npy", cloud.numpy())

    def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return left.value.code or 0, told.out, told.err

    return run


def clouds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 2, generator=generator, dtype=torch.float64) + size for size in (6, 7, 8)]


@pytest.mark.parametrize("ending", [".npy", ".csv"])
def test_pairwise(ending: str, run: Run) -> None:
    code, out, err = run("pairwise", "0.npy", "1.npy", "2.npy", "--p", "1", "--out", f"D{ending}")
    assert (code, err) == (0, "")
    held = np.load("D.npy") if ending == ".npy" else np.loadtxt("D.csv", delimiter=",")
    expected = monge.pairwise(clouds(), p=1.0)
    torch.testing.assert_close(torch.from_numpy(held), expected)
    assert f"{float(expected[0, 2]):.6g}" in out
    code, _, err = run("pairwise", "0.npy", "1.npy", "--out", f"D{ending}")
    assert code == 2
    assert "--force" in err


def test_an_interrupted_pairwise_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = monge.api.pairwise, []

    def interrupted(*args: Any, progress: Any, **options: Any) -> torch.Tensor:
        def tell(done: int, total: int) -> None:
            progress(done, total)
            calls.append(done)
            if len(calls) == 1:
                raise KeyboardInterrupt

        return real(*args, progress=tell, max_bytes=1, **options)

    monkeypatch.setattr(monge.api, "pairwise", interrupted)
    command = ("pairwise", "0.npy", "1.npy", "2.npy", "--out", "D.npy")
    code, _, err = run(*command)
    assert code == 130
    assert "`monge pairwise 0.npy 1.npy 2.npy --out D.npy --resume`" in " ".join(err.split())
    assert np.isnan(np.load("D.npy")).sum() == 7
    code, _, err = run("pairwise", "0.npy", "2.npy", "1.npy", "--out", "D.npy", "--resume")
    assert code == 2
    assert "other measures or options" in err
    assert run(*command, "--resume")[0] == 0
    torch.testing.assert_close(torch.from_numpy(np.load("D.npy")), real(clouds()), rtol=0, atol=0)
    code, _, err = run("pairwise", "0.npy", "1.npy", "--out", "D.csv", "--resume")
    assert (code, "--resume needs the .npy file" in err) == (2, True)
    assert run("pairwise", "0.npy", "1.npy", "--out", "D.npy", "--force")[0] == 0
    assert np.load("D.npy").shape == (2, 2)


def test_divergences_of_many(run: Run) -> None:
    options = ("--metric", "divergence", "--epsilon", "0.5", "--out", "D.npy")
    code, out, _ = run("pairwise", *["0.npy", "1.npy"] * 7, *options)
    assert code == 0
    assert np.load("D.npy").shape == (14, 14)
    assert "distances" in out


def test_barycenter(run: Run) -> None:
    code, out, err = run("barycenter", "0.npy", "1.npy", "--weights", "1,3", "--size", "5", "--out", "points.csv")
    assert (code, err) == (0, "")
    expected = monge.barycenter(clouds()[:2], [1.0, 3.0], size=5)
    torch.testing.assert_close(torch.from_numpy(np.loadtxt("points.csv", delimiter=",")), expected.points)
    assert f"{float(expected.value):.10g}" in out


@pytest.mark.parametrize("method", [None, "nearest"])
def test_map(method: str | None, run: Run) -> None:
    options = () if method is None else ("--method", method)
    code, out, err = run("map", "0.npy", "1.npy", "2.npy", "--epsilon", "0", "--out", "moved.npy", *options)
    assert (code, err) == (0, "")
    x, y, points = clouds()
    expected = monge.couple(x, y).map(points, method=method)
    torch.testing.assert_close(torch.from_numpy(np.load("moved.npy")), expected)
    assert "transport cost" in out
    assert "points mapped   8" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("pairwise", "0.npy", "wide.npy"), "0.npy has 2 and wide.npy has 3"),
        (("pairwise", "0.npy", "1.npy", "--metric", "cosine"), "metric='cosine'"),
        (("pairwise", "-", "-"), "Only one input may be -"),
        (("couple", "-", "1.npy", "--weights-source", "-"), "Only one input may be -"),
        (("barycenter", "0.npy", "1.npy", "--weights", "1"), "--weights 1 must be 2 numbers"),
        (("barycenter", "0.npy", "1.npy", "--out", "points.txt"), "must end in .npy or .csv"),
        (("map", "0.npy", "1.npy", "wide.npy"), "0.npy has 2 and wide.npy has 3"),
        (("map", "0.npy", "1.npy", "2.npy", "--method", "far"), "far"),
        (("couple", "two.npz", "1.npy"), "'x' and 'points' could both be meant: name one, as in file.npz:x"),
        (("couple", "two.pt", "1.npy"), "'x' and 'points' could both be meant: name one"),
        (("couple", "-", "1.npy"), "stdin.csv cannot be used: it is not a readable .csv file (it is empty"),
    ],
)
def test_one_sentence(arguments: tuple[str, ...], told: str, run: Run) -> None:
    np.save("wide.npy", np.zeros((4, 3)))
    np.savez("two.npz", x=np.zeros((4, 2)), points=np.ones((4, 2)))
    torch.save({"x": torch.zeros(4, 2), "points": torch.ones(4, 2)}, "two.pt")
    before = sorted(Path().iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("ending", [".npz", ".pt"])
def test_the_array_that_is_taken_is_told(ending: str, run: Run) -> None:
    x, other = clouds()[0], torch.zeros(3)
    if ending == ".npz":
        np.savez("cloud.npz", x=x.numpy(), labels=other.numpy())
    else:
        torch.save({"x": x, "labels": other}, "cloud.pt")
    code, _, err = run("couple", f"cloud{ending}", "1.npy")
    assert code == 0
    assert err == f"note: SOURCE: cloud{ending}, array 'x' (6 x 2)\n"
    _, _, err = run("couple", "1.npy", f"cloud{ending}:x")
    assert err == f"note: TARGET: cloud{ending}, array 'x' (6 x 2)\n"


def as_bytes(kind: str) -> bytes:
    x, stream = clouds()[0].numpy(), io.BytesIO()
    if kind == "csv":
        np.savetxt(stream, x, delimiter=",")
    elif kind == "npy":
        np.save(stream, x)
    elif kind == "npz":
        np.savez(stream, x=x)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"u": x[:, 0], "v": x[:, 1]}), stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "parquet"])
def test_standard_input(kind: str, run: Run) -> None:
    code, out, err = run("pairwise", "-", "0.npy", "--out", "D.npy", stdin=as_bytes(kind))
    assert (code, err) == (0, "")
    assert np.load("D.npy")[0, 1] == pytest.approx(0, abs=1e-12)
    assert "0 -" in out


def test_too_much_on_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monge.cli.inputs.Budget", lambda: monge._reading.Budget(100))
    code, _, err = run("pairwise", "-", "0.npy", stdin=as_bytes("csv"))
    assert code == 2
    assert "a reader may take 100" in err
