"""What the page about several GPUs says of a loss on a divided batch: two processes against one."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

import monge

PAGE = Path(__file__).parents[2] / "docs" / "several_gpus.md"


def function_of_the_page():
    """The function ``loss_of_all`` as the page has it."""
    text = PAGE.read_text()
    start = text.index("import torch.distributed as dist")
    names = {"torch": torch}
    exec(text[start : text.index("\n\n\nfeatures =", start)], names)
    return names["loss_of_all"]


def everything() -> tuple[Tensor, Tensor, torch.nn.Module]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    y = torch.randn(20, 2, dtype=torch.float64, generator=generator) + 1
    torch.manual_seed(0)
    return x, y, torch.nn.Linear(3, 2).double()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    x, y, network = everything()
    network = torch.nn.parallel.DistributedDataParallel(network)
    own = slice(10 * rank, 10 * rank + 10)
    value = function_of_the_page()(network(x[own]), y[own], monge.loss.SinkhornLoss(epsilon=1.0))
    value.backward()
    torch.save((value.detach(), [p.grad for p in network.parameters()]), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_a_loss_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    if not dist.is_available():
        pytest.skip("torch has no distributed processes here")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    x, y, network = everything()
    value = monge.loss.SinkhornLoss(epsilon=1.0)(network(x), y)
    value.backward()
    for rank in range(2):
        found, gradients = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(found, value.detach())
        for gradient, parameter in zip(gradients, network.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-6, atol=1e-9)
