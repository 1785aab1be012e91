"""The page that a comparison leaves, and the rows of its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from monge.sequences import fit, summarise, write_report

from .toy import MODEL, SCHEDULE, toy


def test_a_report_names_what_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    task = toy()
    runs = [
        fit(task, coupler, model=MODEL, schedule=SCHEDULE, seed=seed)
        for seed in range(2)
        for coupler in ("softmax", "pivots:pivots=4")
    ]
    rows = summarise(run.result for run in runs)
    assert [(row.coupler, row.seeds) for row in rows] == [("softmax", 2), ("pivots:pivots=4", 2)]
    accuracies = [run.result.accuracy for run in runs[::2]]
    assert rows[0].accuracy == pytest.approx(sum(accuracies) / 2)
    assert rows[0].spread == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    written = write_report(tmp_path / "new", task, runs, model=MODEL, schedule=SCHEDULE)
    assert {path.name for path in written} == {path.name for path in (tmp_path / "new").iterdir()}
    page = (tmp_path / "new" / "report.html").read_text()
    assert f"{task.majority_rate:.4f}" in page
    assert "seeds 0, 1" in page
    assert f"{rows[1].accuracy:.4f} ± {rows[1].spread:.4f}" in page
