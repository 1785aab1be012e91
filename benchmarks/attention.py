"""Attention by its coupler: forward and backward against fused softmax attention, with memory and column error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.nn.couplers import build
from monge.nn.diagnostics import marginal_error
from monge.nn.functional import softmax_attention

from ._measure import in_turn, report

HEADS, WIDTH, PIVOTS = 8, 64, 32
LINEAR = {
    "linear (elu + 1)": ("linear", {}),
    f"pivots, r = {PIVOTS}": ("pivots", {"pivots": PIVOTS}),
    f"pivots, r = {PIVOTS}, 2 iterations": ("pivots", {"pivots": PIVOTS, "iterations": 2}),
    f"entropic pivots, r = {PIVOTS}, 5 half-steps": ("entropic-pivots", {"pivots": PIVOTS}),
    f"causal pivots, r = {PIVOTS}": ("causal-pivots", {"pivots": PIVOTS}),
    "performer": ("performer", {"size": 128}),
    "luna": ("luna", {}),
    "expected slices": ("expected-slices", {}),
}
PLAIN = "linear (elu + 1), plain torch"
PLAIN_SINKHORN = "sinkhorn, 5 half-steps, plain torch"
DROPPED, PLAIN_DROPPED = "softmax, dropout 0.1", "softmax, dropout 0.1, torch"
QUADRATIC = {
    "sinkhorn, 5 half-steps, dense": ("sinkhorn", {}),
    "sinkhorn, 5 half-steps, streamed": ("sinkhorn", {"memory": "linear"}),
    "blend of softmax and pivots": ("blend", {"pivots": PIVOTS}),
    "cayley": ("cayley", {}),
}


def main() -> None:
    """Two lengths at which softmax wins or nearly so, and four others; the quadratic couplers at 512 only."""
    for n in (128, 256):
        compare(n, {name: LINEAR[name] for name in list(LINEAR)[:2]}, runs=30)
    compare(512, {**LINEAR, **QUADRATIC}, runs=9)
    heavy = {name: (LINEAR | QUADRATIC)[name] for name in ("expected slices", "sinkhorn, 5 half-steps, dense")}
    compare(1024, {name: LINEAR[name] for name in list(LINEAR)[:3]} | heavy, runs=9)
    compare(4096, {name: LINEAR[name] for name in list(LINEAR)[:5]}, runs=5)
    compare(16384, {name: LINEAR[name] for name in list(LINEAR)[:2]}, runs=1)


def compare(n: int, chosen: dict[str, tuple[str, dict]], *, runs: int) -> None:
    """Every chosen coupler against fused softmax attention at n tokens, in one process and in turn."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, cotangent = (torch.randn(1, HEADS, n, WIDTH, generator=generator) for _ in range(4))
    torch.manual_seed(0)
    couplers = {"softmax (fused)": build("softmax", HEADS, WIDTH)}
    couplers |= {name: build(kind, HEADS, WIDTH, **options) for name, (kind, options) in chosen.items()}

    def step(attend: Callable[..., Tensor]) -> Callable[[], None]:
        def run() -> None:
            leaves = [t.clone().requires_grad_() for t in (q, k, v)]
            attend(*leaves).backward(cotangent)

        return run

    errors = {}
    with torch.no_grad():
        for name, coupler in couplers.items():
            if n <= 1024:
                errors[f"column error, {name}"] = f"{float(marginal_error(coupler(q, k))[1].max()):.1e}"
    contestants = {name: step(coupler.attend) for name, coupler in couplers.items()} | {PLAIN: step(plain_linear)}
    balanced = "sinkhorn, 5 half-steps, dense"
    if balanced in contestants:
        contestants[PLAIN_SINKHORN] = step(plain_sinkhorn)
        contestants[DROPPED] = step(partial(softmax_attention, dropout=0.1))
        contestants[PLAIN_DROPPED] = step(partial(F.scaled_dot_product_attention, dropout_p=0.1))
    timings = in_turn(contestants, runs=runs)
    least = timings[f"pivots, r = {PIVOTS}"].least
    ratios = {
        f"shortest run over that of pivots, {name}": f"{timings[name].least / least:.2f}"
        for name in ("softmax (fused)", "linear (elu + 1)", PLAIN)
    }
    title = f"attention, forward and backward, n = {n}, {HEADS} heads of {WIDTH}, float32"
    if balanced in contestants:
        for theirs, ours in ((PLAIN_SINKHORN, balanced), (PLAIN_DROPPED, DROPPED)):
            ratios[f"shortest run of {theirs} over ours"] = f"{timings[theirs].least / timings[ours].least:.2f}"
    report("attention", title, timings, "softmax (fused)", **errors, **ratios)


def plain_sinkhorn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Five half-steps in the log domain, as published code does them."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    for half in range(5):
        scores = scores - scores.logsumexp(-2 if half % 2 else -1, keepdim=True)
    return scores.exp() @ v


def plain_linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention as anyone would write it, so that no handicap of a module flatters the others."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.mT @ v) / (q @ k.sum(-2)[..., None])
