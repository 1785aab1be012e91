"""Every recipe of the documentation runs as it stands, draws a picture, and is timed beside another library."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))
SIDES = {"data", "ours", "theirs", "accuracy"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_and_draws(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        exec(compile(path.read_text(), str(path), "exec", dont_inherit=True), names)
        own = [value for value in names.values() if hasattr(value, "savefig")]
        drawn = [*map(pyplot.figure, pyplot.get_fignums()), *own]
        assert any(figure.axes for figure in drawn if hasattr(figure, "axes")), f"{path.name} draws nothing."
    finally:
        pyplot.close("all")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_stands_beside_another_library(path: Path) -> None:
    page = path.read_text()
    beside = ROOT / "benchmarks" / "recipes" / path.name
    code = ast.parse(beside.read_text())
    assert {node.name for node in code.body if isinstance(node, ast.FunctionDef)} >= SIDES
    shown = re.search(r"literalinclude:: \.\./\.\./(\S+)\n#    :pyobject: (\w+)", page)
    assert shown is not None, f"{path.name} must show the code of the other library."
    assert (ROOT / shown[1]) == beside
    assert shown[2] == "theirs"
    assert f"../generated/recipe-{path.stem}.rst" in page, f"{path.name} must show what was measured."
    assert "benchmarks" not in re.findall(r"^(?:import|from) (\w+)", page, re.MULTILINE)
