"""The package of examples/extension, as if it were installed: everywhere by name, and nowhere without it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import monge
from monge.geometry import COSTS
from monge.nn.couplers import COUPLERS
from monge.sequences import RECIPES
from monge.solver import SOLVERS

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "examples" / "extension"
NAMES = {"costs": "log-cosh", "couplers": "near", "solvers": "ranks", "recipes": "majority"}

COMMAND = "import sys; from monge.cli import main; main(sys.argv[1:])"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """What an installer leaves behind, as far as entry points are concerned."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, held in groups.items() for line in (f"[{group}]", *map(" = ".join, held.items()))]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs Python with folders on its path, in an empty folder."""

    def started(*arguments: str, path: tuple[Path, ...] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        places = [*map(str, path), *(place for place in sys.path if place)]
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "COLUMNS": "200"},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return started


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Path, ...]:
    """Folders that make the package look installed, declared as its own pyproject.toml says."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((EXTENSION / "pyproject.toml").read_text())["project"]
    place = tmp_path / "site"
    place.mkdir()
    install(place, project["name"], project["entry-points"])
    return place, EXTENSION


def test_it_is_short_and_uses_what_faces_list() -> None:
    text = (EXTENSION / "monge_extension.py").read_text()
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node in imports:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("monge"):
            face = __import__(node.module, fromlist=["__all__"])
            assert {alias.name for alias in node.names} <= set(face.__all__)
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) - len(imports) <= 40


def test_what_it_declares_works_in_the_library(run: Run, installed: tuple[Path, ...]) -> None:
    run("-W", "error", str(Path(__file__).with_name("declared.py")), path=installed)


def test_what_it_declares_works_on_the_command_line(run: Run, installed: tuple[Path, ...], tmp_path: Path) -> None:
    pytest.importorskip("typer")
    line = "-c", COMMAND
    told = json.loads(run(*line, "list", "--json", path=installed).stdout)
    for kind, name in NAMES.items():
        assert name in told[kind]["names"]
        assert told[kind]["faults"] == {}
    assert "Which of two tokens is more" in run(*line, "list", "recipes", path=installed).stdout
    np.save(tmp_path / "x.npy", np.arange(6.0)[:, None])
    np.save(tmp_path / "y.npy", np.arange(6.0)[::-1, None].copy() + 1)
    answer = run(*line, "couple", "x.npy", "y.npy", "--cost", "log-cosh", path=installed).stdout
    assert "6 × 6" in answer
    answer = run(*line, "couple", "x.npy", "y.npy", "--solver", "ranks", "--epsilon", "0", path=installed).stdout
    assert "PermutationCoupling 6 × 6" in answer
    train = (*line, "train", "majority", "--coupler", "near,softmax", "--steps", "2", "--device", "cpu")
    table = run(*train, path=installed).stdout
    assert "near" in table
    results = json.loads((tmp_path / "runs" / "majority" / "results.json").read_text())
    assert [held["coupler"] for held in results] == ["near", "softmax"]
    assert "near" in (tmp_path / "runs" / "majority" / "report.md").read_text()
    run(*train, path=installed, code=2)
    run(*train, "--resume", path=installed)
    assert json.loads((tmp_path / "runs" / "majority" / "results.json").read_text()) == results


def test_without_it_nothing_of_it_is_known() -> None:
    for registry, name in zip((COSTS, COUPLERS, SOLVERS, RECIPES), NAMES.values(), strict=True):
        assert name not in registry
        with pytest.raises(monge.errors.InputError, match=f"{registry.kind}='{name}' is unknown: choose one of"):
            registry[name]


BROKEN = """
import warnings, torch, monge
from monge.errors import ExtensionWarning, InputError
x = torch.arange(6.0)[:, None]
monge.nn.Attention(8, 2, "pivots")
monge.couple(x, x, cost="euclidean", solver=monge.solver.Simplex())
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        assert torch.equal(monge.couple(x, x + 1).dense(), torch.eye(6) / 6)
[warning] = told
assert warning.category is ExtensionWarning
for word in ("solver 'ranks'", "package unlucky", "cannot be imported from absent:Ranks", "uninstall"):
    assert word in str(warning.message), warning.message
for name, ask in {
    "couplers": lambda: monge.nn.Attention(8, 2, "near"),
    "costs": lambda: monge.couple(x, x, cost="log-cosh"),
    "recipes": lambda: monge.sequences.recipe("majority"),
}.items():
    try:
        ask()
    except InputError as error:
        assert "the package unlucky" in str(error), error
    else:
        raise AssertionError(name)
"""


def test_a_broken_package_is_told_and_disturbs_nothing_else(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "site"
    place.mkdir()
    things = {"couplers": "Near", "costs": "LogCosh", "recipes": "MAJORITY", "solvers": "Ranks"}
    install(place, "unlucky", {f"monge.{kind}": {NAMES[kind]: f"absent:{thing}"} for kind, thing in things.items()})
    run("-c", "import monge.sequences\n" + BROKEN, path=(place,))
    pytest.importorskip("typer")
    listed = run("-c", COMMAND, "list", "couplers", path=(place,))
    assert "softmax" in listed.stdout
    assert "the package unlucky" in " ".join(listed.stderr.split())
