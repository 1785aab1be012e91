"""A program that runs the named test of every paper without what implements it, and writes how each one ended.

It is a process of its own, since test modules are imported anew for every paper. A test that holds does not depend on
what its row says; one that is not found, or fails for another reason, is told too.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from monge.papers import Paper, papers

ROOT = Path(__file__).parents[2]
# Plugins of pytest are imported before its first run, whose warning about that is no fault of a test.
OPTIONS = ("-p", "no:cacheprovider", f"--rootdir={ROOT}", "-W", "ignore::pytest.PytestAssertRewriteWarning")
MISSING = "what implements this paper is missing"


def missing(*arguments: Any, **options: Any) -> None:
    """Stands in the place of a class or a function."""
    raise RuntimeError(MISSING)


class Watcher:
    """Hears of every report: how the tests ended, in words."""

    def __init__(self) -> None:
        self.ends: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.ends.add("not collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed or report.skipped:
            lost = report.failed and MISSING in str(report.longrepr)
            self.ends.add("failed without it" if lost else f"{report.outcome} for another reason")


def forget_tests() -> None:
    """Modules of tests hold the names that they have imported."""
    folders = [ROOT / "tests", ROOT / "papers" / "tests"]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and file and any(Path(file).is_relative_to(folder) for folder in folders):
            del sys.modules[name]


def end_of(paper: Paper) -> list[str]:
    """How the named test ends without what implements the paper."""
    room, name, held = import_module(paper.module), paper.implements.rpartition(".")[2], paper.implementation
    watcher = Watcher()
    forget_tests()
    setattr(room, name, missing)
    try:
        pytest.main([str(ROOT / paper.test), *OPTIONS], plugins=[watcher])
    finally:
        setattr(room, name, held)
    return sorted(watcher.ends)


if __name__ == "__main__":
    ends = {paper.key: end_of(paper) for paper in papers() if paper.kind == "method"}
    Path(sys.argv[1]).write_text(json.dumps(ends))
