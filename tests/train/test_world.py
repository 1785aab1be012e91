"""Two processes that share every batch learn what one learns."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monge.errors import InputError
from monge.sequences import fit
from monge.train import MachineConfig, World, world
from sequences.toy import MODEL, SCHEDULE, toy

SHARED = """
    import sys
    import torch
    from dataclasses import replace
    from monge.sequences import fit
    from monge.train import MachineConfig, world
    from sequences.toy import MODEL, SCHEDULE, toy

    torch.set_num_threads(1)
    machine = MachineConfig(device="cpu")
    with world(machine.torch_device()) as processes:
        run = fit(
            toy(), "pivots:pivots=4", model=replace(MODEL, dropout=0.0, attention_dropout=0.0), schedule=SCHEDULE,
            machine=machine, folder=sys.argv[1],
        )
        assert processes.size == 2
        # Of three weights the first process used two, the second one.
        held = [torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64)) for _ in range(3)]
        for weight in held[: 2 - processes.rank]:
            weight.grad = torch.full_like(weight, processes.rank + 1)
        loss = processes.average(torch.tensor(float(processes.rank)), held)
        means = [None if weight.grad is None else weight.grad.unique().tolist() for weight in held]
        assert (float(loss), means) == (0.5, [[1.5], [0.5], None])
        first = torch.full((2,), float(processes.rank))
        processes.follow([first])
        assert first.eq(0).all()
        assert processes.gathered(processes.rank) == [0, 1]
        if processes.leads:
            import json
            sys.stdout.write(json.dumps(run.result.plain()))
"""


def test_two_processes(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    paths = [str(tests.parent / "src"), str(tests), os.environ.get("PYTHONPATH", "")]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    # What torchrun sets, without the seconds that it takes to start.
    known = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    known |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SHARED), str(tmp_path / "run")],
            env=os.environ | known | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    two = json.loads(told[0][0])
    still = replace(MODEL, dropout=0.0, attention_dropout=0.0)
    one = fit(toy(), "pivots:pivots=4", model=still, schedule=SCHEDULE, machine=MachineConfig(device="cpu")).result
    assert two["accuracy"] == one.accuracy
    assert two["loss"] == pytest.approx(one.loss, rel=1e-4)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.pt", "metrics.jsonl"}


def test_alone() -> None:
    with world(torch.device("cpu")) as processes:
        assert processes == World(0, 1)
        assert processes.leads
        assert processes.gathered({"held": 1}) == [{"held": 1}]


def test_torchrun_variables_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="start them with torchrun"), world(torch.device("cpu")):
        pass
