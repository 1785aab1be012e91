"""``monge couple``: numbers it prints, files it writes, and every way in which its input can be wrong."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import monge
from monge.errors import InputError

pytest.importorskip("typer")

from monge._files import write_whole
from monge.cli import main
from monge.cli.plan_file import read_plan
from mutants import flipped, mutant, outcome
from sweep import sweep

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in an empty folder; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return left.value.code or 0, told.out, told.err

    return run


@pytest.fixture
def clouds(tmp_path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clouds, in the files x.npy and y.csv."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 2, generator=generator).double(), torch.randn(25, 2, generator=generator).double() + 2
    np.save(tmp_path / "x.npy", x.numpy())
    np.savetxt(tmp_path / "y.csv", y.numpy(), delimiter=",")
    return x, y


def number(name: str, table: str) -> float:
    found = re.search(rf"^{name} +([-+.\de]+)", table, re.MULTILINE)
    assert found, table
    return float(found[1])


def test_prints_what_the_plan_costs(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = clouds
    code, out, err = run("couple", "x.npy", "y.csv", "--epsilon", "0.3")
    solution = monge.solve(monge.Linear(monge.geometry.PointCloud(x, y), epsilon=0.3))
    assert code == 0
    assert err == ""
    assert number("transport cost", out) == pytest.approx(float(solution.coupling.transport_cost()), rel=1e-6)
    assert number("value", out) == pytest.approx(float(solution.value), rel=1e-6)
    assert number("epsilon", out) == pytest.approx(0.3)
    assert number("marginal error", out) < 1e-5
    assert "Converged" in out
    assert "peak memory" in out


def test_exact_and_relative(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = clouds
    exact = float(monge.couple(x, y).transport_cost(monge.geometry.PointCloud(x, y)))
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0", "--dtype", "float64")
    assert number("value", out) == pytest.approx(exact, rel=1e-9)
    assert number("duality gap", out) < 1e-9
    mean = float(torch.cdist(x, y).square().mean())
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "relative:0.1")
    assert number("epsilon", out) == pytest.approx(0.1 * mean, rel=1e-4)


def test_sparse_form(run: Run, clouds: tuple[torch.Tensor, torch.Tensor], tmp_path: Path) -> None:
    x, y = clouds
    code, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0", "--out", "plan.npz")
    assert code == 0
    assert "sparse form" in out
    with np.load("plan.npz") as held:
        assert str(held["form"]) == "sparse"
        assert held["shape"].tolist() == [20, 25]
        assert held["i"].shape == held["j"].shape == held["w"].shape
        assert held["w"].sum() == pytest.approx(1)
    plan = read_plan("plan.npz")
    torch.testing.assert_close(plan.dense(), monge.couple(x, y).dense())


def test_potential_form(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = clouds
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0.3", "--out", "plan.npz", "--seed", "3")
    assert "potential form" in out
    with np.load("plan.npz") as held:
        pairs, barycentric = held["pairs"], held["barycentric"]
        assert str(held["status"]) == "CONVERGED"
    plan = read_plan("plan.npz")
    expected = monge.couple(x, y, epsilon=0.3)
    torch.testing.assert_close(plan.dense(), expected.dense())
    torch.testing.assert_close(torch.from_numpy(barycentric), expected.barycentric(y))
    drawn = torch.stack(expected.pair(generator=torch.Generator().manual_seed(3)), -1)
    assert pairs.tolist() == drawn.tolist()


def test_partial_and_unbalanced(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0.3", "--mass", "0.25")
    assert number("mass moved", out) == pytest.approx(0.25, rel=1e-4)
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0.3", "--rho", "0.5")
    assert 0 < number("mass moved", out) < 1
    _, out, _ = run("couple", "x.npy", "y.csv", "--epsilon", "0.3", "--rho", "inf,0.5")
    assert number("mass moved", out) == pytest.approx(1, rel=1e-4)


def test_weights(run: Run, clouds: tuple[torch.Tensor, torch.Tensor], tmp_path: Path) -> None:
    x, y = clouds
    a, b = torch.rand(20).double(), torch.rand(25).double()
    np.save("a.npy", a.numpy())
    torch.save(b, "b.pt")
    code, _, err = run("couple", "x.npy", "y.csv", "--weights-source", "a.npy", "--weights-target", "b.pt")
    assert code == 2
    assert "same mass" in err
    assert "--normalise" in err
    options = ("--weights-source", "a.npy", "--weights-target", "b.pt", "--normalise", "--epsilon", "0")
    _, out, _ = run("couple", "x.npy", "y.csv", *options)
    plan = monge.couple(x, y, a / a.sum(), b / b.sum())
    assert number("value", out) == pytest.approx(float(plan.transport_cost(monge.geometry.PointCloud(x, y))), rel=1e-8)


@pytest.mark.parametrize("name", ["plan.png", "plan.jpg", "plan.JPEG", "plan.pdf", "plan.svg"])
def test_picture(name: str, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("matplotlib")
    code, _, _ = run("couple", "x.npy", "y.csv", "--plot", name)
    assert code == 0
    start = Path(name).read_bytes()[:5]
    ending = Path(name).suffix.lower()
    assert start.startswith(
        {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".jpeg": b"\xff\xd8", ".pdf": b"%PDF", ".svg": b"<?xml"}[ending]
    )


@pytest.mark.parametrize(("option", "name"), [("--out", "plan.npz"), ("--plot", "plan.png")])
def test_a_file_is_replaced_only_if_asked(
    option: str, name: str, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]
) -> None:
    Path(name).write_bytes(b"old")
    code, out, err = run("couple", "x.npy", "y.csv", option, name)
    assert (code, out) == (2, "")
    assert f"{option} {name} is there already: add --force" in err
    assert Path(name).read_bytes() == b"old"
    if option == "--out":
        assert run("couple", "x.npy", "y.csv", option, name, "--force")[0] == 0
        assert read_plan(name).shape == (20, 25)


def test_a_missed_tolerance_is_told(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    options = ("--solver", "sinkhorn", "--max-iter", "1", "--tol", "1e-9", "--epsilon", "0.01")
    code, out, err = run("couple", "x.npy", "y.csv", *options, "--out", "plan.npz")
    assert code == 1
    assert number("marginal error", out) > 1e-9
    assert "max_iter" in err
    assert Path("plan.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing.npy", "y.csv"), "nothing.npy does not exist"),
        (("wide.npy", "y.csv"), "wide.npy has 3 and y.csv has 2"),
        (("nan.npy", "y.csv"), "nan.npy must hold neither NaN nor inf"),
        (("pickle.npy", "y.csv"), "pickle.npy cannot be used: it holds Python objects"),
        (("empty.npy", "y.csv"), "empty.npy must hold at least one point"),
        (("x.npy", "y.csv", "--epsilon", "-1"), "--epsilon -1 must be"),
        (("x.npy", "y.csv", "--epsilon", "nan"), "--epsilon nan must be"),
        (("x.npy", "y.csv", "--epsilon", "abs:0.1"), "--epsilon abs:0.1 must be"),
        (("x.npy", "y.csv", "--epsilon", ":0.1"), "--epsilon :0.1 must be"),
        (("x.npy", "y.csv", "--mass", "2"), "mass must be positive and at most"),
        (("x.npy", "y.csv", "--rho", "-1"), "rho"),
        (("x.npy", "y.csv", "--rho", "much"), "a price or two of them"),
        (("x.npy", "y.csv", "--rho", "1,2,3"), "but has 3"),
        (("x.npy", "y.csv", "--mass", "0.5", "--rho", "1"), "rho=1.0 and mass=0.5"),
        (("x.npy", "y.csv", "--weights-source", "x.npy"), "x.npy must hold one weight per point"),
        (("x.npy", "y.csv", "--solver", "sorted"), "Sorted needs points on a line"),
        (("x.npy", "y.csv", "--solver", "simplex", "--epsilon", "0", "--tol", "0.1"), "--tol"),
        (("x.npy", "y.csv", "--out", "plan.txt"), "--out plan.txt must end in .npz"),
        (("x.npy", "y.csv", "--out", "nowhere/plan.npz"), "does not exist: make it first"),
        (("x.npy", "y.csv", "--out", "folder.npz"), "is no regular file"),
        (("x.npy", "y.csv", "--plot", "plan.gif"), "--plot plan.gif must end in"),
        (("x.npy", "y.csv", "--cost", "manhattan"), "manhattan"),
        (("x.npy",), "target"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], told: str, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]
) -> None:
    np.save("wide.npy", np.zeros((4, 3)))
    np.save("nan.npy", np.array([[0.0, np.nan]]))
    np.save("pickle.npy", np.array([object()]), allow_pickle=True)
    np.save("empty.npy", np.zeros((0, 2)))
    Path("folder.npz").mkdir()
    before = sorted(Path().iterdir())
    code, out, err = run("couple", *arguments)
    assert code == 2
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    if err.startswith("error:"):
        assert err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


def test_debug_shows_where(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="does not exist"):
        main(["couple", "nothing.npy", "y.csv", "--debug"])


def test_faults_of_ours_are_told_apart(
    run: Run, clouds: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, code, told in [
        (ZeroDivisionError("oh"), 3, "A fault inside Monge (ZeroDivisionError: oh): run it again with --debug"),
        (MemoryError(), 2, "not enough memory"),
        (OSError(5, "Input/output error"), 2, "The system refused"),
    ]:

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("monge.cli.question.solve", fail)
        left, out, err = run("couple", "x.npy", "y.csv")
        assert (left, out) == (code, "")
        assert told in err


def test_interrupted(run: Run, clouds: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monge.cli.question.solve", interrupted)
    before = sorted(Path().iterdir())
    code, out, err = run("couple", "x.npy", "y.csv", "--out", "plan.npz")
    assert (code, out) == (130, "")
    assert err == "error: Interrupted: no file was left half-written; run the same command again.\n"
    assert sorted(Path().iterdir()) == before


def test_a_long_solve_is_announced(
    run: Run, clouds: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monge.cli.question.estimated_seconds", lambda problem, solver: 300.0)
    code, _, err = run("couple", "x.npy", "y.csv", "--epsilon", "0")
    assert code == 0
    assert err == (
        "note: Solving will take about 5 minutes by estimate: a positive --epsilon or fewer points are faster.\n"
    )


def test_a_line_a_minute_in_pipes(
    run: Run, clouds: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monge._progress.EVERY", 0.0)
    code, _, err = run("pairwise", "x.npy", "y.csv", "x.npy")
    assert code == 0
    assert "note: pairs, 3 of 3\n" in err


@contextlib.contextmanager
def files_of_at_most(size: int):
    """The system refuses larger files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_file(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    Path("plan.npz").write_bytes(b"old")
    before = sorted(Path().iterdir())
    with files_of_at_most(256):
        code, _, err = run("couple", "x.npy", "y.csv", "--out", "plan.npz", "--force")
    assert code == 2
    assert "plan.npz could not be written (File too large)" in err
    assert Path("plan.npz").read_bytes() == b"old"
    assert sorted(Path().iterdir()) == before


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(stream: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "plan.npz", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_written_files_are_as_readable_as_others(tmp_path: Path) -> None:
    write_whole(tmp_path / "one", lambda stream: stream.write(b"1"))
    (tmp_path / "other").write_bytes(b"1")
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_closed_folder(run: Run, clouds: tuple[torch.Tensor, torch.Tensor], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, err = run("couple", "x.npy", "y.csv", "--out", "closed/plan.npz")
    assert code == 2
    assert "needs write permission" in err


def test_no_plan_in_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="no plan that `monge couple --out` wrote"):
        read_plan(tmp_path / "other.npz")


def plan_bytes(run: Run, epsilon: float) -> bytes:
    run("couple", "x.npy", "y.csv", "--epsilon", epsilon, "--out", "plan.npz")
    return Path("plan.npz").read_bytes()


@sweep(200, 2000)
@pytest.mark.parametrize("epsilon", [0, 0.3])
def test_flipped_bits_of_a_plan(
    epsilon: float, seeds: range, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]
) -> None:
    content = plan_bytes(run, epsilon)
    held, bits = read_plan("plan.npz").dense(), np.random.default_rng(0).permutation(8 * len(content))
    for seed in seeds:
        for damaged in (flipped(content, int(bits[seed])), mutant(content, seed)):
            Path("plan.npz").write_bytes(damaged)
            found = outcome(lambda: read_plan("plan.npz"), seed)
            assert found is None or torch.equal(found.dense(), held), seed


@pytest.mark.parametrize(
    ("epsilon", "change", "told"),
    [
        (0, {"form": np.array("dense")}, "its form 'dense' is unknown, only sparse and potential are"),
        (0, {"form": np.array(3)}, "it holds int64"),
        (0, {"shape": np.array([3, 4])}, ""),
        (0, {"shape": np.array([10**12, 25])}, "reading it takes"),
        (0, {"shape": np.array([20, -25])}, ""),
        (0, {"shape": np.array([20, 25, 1])}, "it is damaged"),
        (0, {"w": np.zeros(3)}, ""),
        (0, {"i": np.array([object()])}, "Python objects"),
        (0.3, {"cost": np.array("manhattan")}, "manhattan"),
        (0.3, {"f": np.full(20, np.nan)}, ""),
        (0.3, {"f": np.zeros(3)}, ""),
        (0.3, {"shape": np.array([3, 4])}, "its shape is 3 x 4, but it has 20 and 25 points"),
    ],
)
def test_forged_plans(
    epsilon: float, change: dict, told: str, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]
) -> None:
    plan_bytes(run, epsilon)
    with np.load("plan.npz") as held:
        arrays = dict(held) | change
    np.savez("plan.npz", allow_pickle=True, **arrays)
    with pytest.raises(InputError, match=rf"is no plan that `monge couple --out` wrote \(.*{told}.*\): write it again"):
        read_plan("plan.npz")


@pytest.mark.parametrize("digits", [30, 3000, 5000])
def test_a_huge_seed_is_told_shortly(digits: int, run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    code, out, err = run("couple", "x.npy", "y.csv", "--seed", "9" * digits)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert len(err) < 200


def test_a_table_with_a_gap_is_one_sentence(run: Run, clouds: tuple[torch.Tensor, torch.Tensor]) -> None:
    Path("gap.csv").write_text("1,\n3,4\n")
    code, out, err = run("couple", "x.npy", "gap.csv")
    assert (code, out) == (2, "")
    assert "row 1, column 2 is empty" in err
    assert err.count("\n") == 1
