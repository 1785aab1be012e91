"""Every room registers its papers, under their own module."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import monge_papers
from monge.papers import Paper

ROOT = Path(__file__).parents[1]
ROOMS = [room.name for room in pkgutil.iter_modules(monge_papers.__path__) if room.name != "examples"]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_register_their_papers(room: str) -> None:
    tomllib = pytest.importorskip("tomllib")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["monge.papers"]
    assert points[room] == f"monge_papers.{room}:PAPERS"
    rows = importlib.import_module(f"monge_papers.{room}").PAPERS
    assert rows
    for paper in rows:
        assert isinstance(paper, Paper)
        assert paper.implements.startswith(f"monge_papers.{room}.")
        assert callable(paper.implementation)
        assert paper.script.parent == ROOT / "src" / "monge_papers" / "examples"
