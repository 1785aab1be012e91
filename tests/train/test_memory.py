"""Bytes that a call holds at once, and memory that goes back to the system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from monge.train import memory, peak_bytes

CPU = torch.device("cpu")


def test_a_chain() -> None:
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x + 1, CPU) == 4000
    assert peak_bytes(lambda: ((x + 1) + 1) + 1, CPU) == 8000


def test_views_and_changes_in_place_are_free() -> None:
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x.view(10, 100).add_(1).T, CPU) == 0


def test_what_backward_needs_is_held() -> None:
    x = torch.zeros(1000, requires_grad=True)

    def run():
        y = x
        for _ in range(10):
            y = y.exp()
        y.sum().backward()

    assert 44_000 <= peak_bytes(run, CPU) <= 52_100


@pytest.mark.skipif(memory._trim is None, reason="the C library keeps what it wants")
def test_holes_are_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    memory.give_back()
    start = resident()
    sizes = torch.randint(20_000, 2_000_000, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    for _ in range(2):
        # The first round teaches the allocator that such sizes come from its heap.
        held = [torch.zeros(size) for size in sizes]
        stays = held[-1][:10].clone()
        del held
    memory.give_back()
    assert resident() - start < 100e6
    assert stays.eq(0).all()
