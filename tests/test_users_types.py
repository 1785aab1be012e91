"""What a type checker tells a user: the main calls have types, and wrong ones are found."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import monge

SCRIPT = """
import torch
import monge
from monge.geometry import PointCloud
from monge.loss import SinkhornLoss

x, y = torch.randn(5, 2), torch.randn(6, 2)
reveal_type(monge.couple(x, y))
reveal_type(monge.couple(x, y) @ y)
reveal_type(monge.wasserstein(x, y))
reveal_type(monge.divergence(x, y))
reveal_type(monge.solve(monge.Linear(PointCloud(x, y))).report.status.ok)
reveal_type(monge.nn.Attention(8, heads=2, coupler="pivots"))
reveal_type(SinkhornLoss(epsilon=0.1))
monge.couple(x, y, epsilonn=0.1)
monge.couple(x, y).marginal()
"""


@pytest.mark.slow
def test_the_main_calls_have_types(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    (tmp_path / "script.py").write_text(SCRIPT)
    source = str(Path(monge.__file__).parents[1])
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [source], "include": ["script.py"]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = json.loads(ran.stdout)["generalDiagnostics"]
    shown = [one["message"].split('" is "')[1].strip('"') for one in told if one["severity"] == "information"]
    assert shown == ["Coupling", "Tensor", "Tensor", "Tensor", "bool", "Attention", "SinkhornLoss"]
    wrong = [one["message"] for one in told if one["severity"] == "error"]
    assert len(wrong) == 2
    assert "epsilonn" in wrong[0]
    assert "marginal" in wrong[1]
