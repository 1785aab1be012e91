"""Fused pivot attention against flash attention on a GPU: forward and backward, and where one overtakes the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from monge.nn.couplers import Pivots
from monge.nn.functional import pivot_attention

from ._measure import Timing, report

HEADS, WIDTH, PIVOTS = 8, 64, 32
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
FLASH, FUSED = "softmax (flash)", f"pivots, r = {PIVOTS}"


def main() -> None:
    """Every length, launched by Python and replayed as a graph, once the outputs are known to be right."""
    if not torch.cuda.is_available():
        print("The benchmark attention_gpu needs a CUDA device, and there is none.")
        return
    check()
    for launch in (eager, replayed):
        ratios = {n: compare(n, launch) for n in LENGTHS}
        ahead = next((n for n in LENGTHS if all(ratios[m] > 1 for m in LENGTHS if m >= n)), None)
        print(f"{launch.__name__}: pivots are ahead from n = {ahead}" if ahead else f"{launch.__name__}: never ahead")


def check() -> None:
    """No timing of a wrong answer: outputs and derivatives agree with plain operations in double precision."""
    tensors = [torch.randn(1, HEADS, 1000, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    locations = torch.randn(HEADS, PIVOTS, WIDTH, device="cuda")
    answers = []
    for dtype in (torch.bfloat16, torch.float64):
        q, k, v, cotangent = (t.detach().to(dtype).requires_grad_() for t in tensors)
        z = locations.to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_()
        out = pivot_attention(q, k, v, z)
        answers.append((out, *torch.autograd.grad(out, (q, k, v, z), cotangent)))
    for fast, right in zip(*answers, strict=True):
        error = (fast.double() - right).abs().max() / right.abs().max()
        if not error < 0.05:
            raise RuntimeError(f"The fused kernels are wrong by {float(error):.1e} of the largest number.")


def compare(n: int, launch: Callable) -> float:
    """How many times faster pivots are than flash attention at n tokens."""
    q, k, v, cotangent = (torch.randn(1, HEADS, n, WIDTH, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    leaves = [t.requires_grad_() for t in (q, k, v)]
    coupler = Pivots(HEADS, WIDTH, PIVOTS).cuda()
    parameters = [*leaves, *coupler.parameters()][:5]

    def flash() -> None:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), leaves, cotangent)

    def pivots() -> None:
        torch.autograd.grad(coupler.attend(q, k, v), parameters, cotangent)

    timings = {name: launch(step) for name, step in ((FLASH, flash), (FUSED, pivots))}
    title = f"attention on {torch.cuda.get_device_name()}, {launch.__name__}, n = {n}, {HEADS} heads of {WIDTH}, bf16"
    report("attention_gpu", title, timings, FLASH)
    return timings[FLASH].median / timings[FUSED].median


def eager(step: Callable[[], None], runs: int = 30) -> Timing:
    """Seconds between events around a step that Python launches, and the memory it adds."""
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    seconds = []
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3)
    megabytes = (torch.cuda.max_memory_allocated() - before) / 1e6
    return Timing(statistics.median(seconds), min(seconds), max(seconds), megabytes)


def replayed(step: Callable[[], None]) -> Timing:
    """The same of a step recorded as a CUDA graph, which leaves out what Python takes to launch it."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return eager(graph.replay)
