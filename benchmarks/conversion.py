"""A pretrained sentence encoder with other couplers: after the swap, after matching, after a little tuning.

Three numbers tell what is left of the original: how often the nearest of 24 sentences is the paraphrase, the rank
correlation of all similarities with those of the original, and the mean cosine between old and new embeddings. Matching
and tuning see other sentences, and for a task the original's own similarities; nothing was selected by the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from monge.convert import convert, fine_tune, match

from ._measure import keep
from ._minilm import PACKAGE, Encoder, Tokenizer, folder
from ._passages import PAIRS, SENTENCES

BATCH, MATCHING, TUNING = 8, 60, 40
CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax", {}),
    "sinkhorn, 5 half-steps": ("sinkhorn", {}),
    "pivots, r = 32": ("pivots", {}),
    "pivots, r = 32, class token by softmax": ("hybrid", {"inner": "pivots", "special": 1}),
    "pivots in the first and the last layer": ("pivots", {"where": lambda name: ".0." in name or ".5." in name}),
    "blend of softmax and pivots": ("pivots", {"blend": -4.0}),
    "linear (elu + 1)": ("linear", {}),
}


def main() -> None:
    """Every coupler through all three stages."""
    where = folder()
    if where is None:
        Console().print(
            f"The package {PACKAGE.replace('_', '-')}, which carries the weights, is not installed: skipped."
        )
        return
    original, tokenizer = Encoder.pretrained(where), Tokenizer(where)
    told = tokenizer([text for pair in PAIRS for text in pair])
    with torch.no_grad():
        before = original(**told)
    rows = [["original", "", *judge(before, before), *example(before)]]
    for title, (coupler, options) in CHOICES.items():
        torch.manual_seed(0)
        made = convert(original, coupler, **options).model
        start = time.perf_counter()
        stages = ["swapped"]
        rows.append([title, stages[-1], *measure(made, told, before)])
        if any(p.requires_grad for p in learners(made)):
            match(made, original, batches(tokenizer, MATCHING))
            rows.append([title, "matched", *measure(made, told, before)])
        if coupler != "softmax":
            fine_tune(made.train(), task(original), batches(tokenizer, TUNING), lr=2e-5)
            rows.append([title, "tuned", *measure(made.eval(), told, before)])
        Console().print(f"{title}: {time.perf_counter() - start:.0f} s")
    keep(
        "conversion",
        f"MiniLM, 6 layers, 12 heads of 32: {MATCHING} steps of matching, {TUNING} of tuning, {BATCH} passages each",
        ["coupler", "stage", "paraphrase nearest", "rank correlation", "mean cosine", "same", "other"],
        rows,
        same=f"similarity of {PAIRS[0][0]!r} and {PAIRS[0][1]!r}",
        other=f"similarity of the first and {PAIRS[1][0]!r}",
    )


def measure(model: nn.Module, told: dict[str, Tensor], before: Tensor) -> list[str]:
    """The cells of one stage."""
    with torch.no_grad():
        now = model(**told)
    return [*judge(now, before), *example(now)]


def judge(now: Tensor, before: Tensor) -> list[str]:
    """Retrieval of paraphrases, rank correlation of similarities, and closeness to the original."""
    similar = now @ now.T
    nearest = similar.masked_fill(torch.eye(len(now), dtype=torch.bool), -2.0).argmax(1)
    partner = torch.arange(len(now)) ^ 1
    i, j = torch.triu_indices(len(now), len(now), 1)
    ranks = torch.stack([s[i, j].argsort().argsort().double() for s in (similar, before @ before.T)])
    right, correlation = (nearest == partner).sum(), torch.corrcoef(ranks)[0, 1]
    return [f"{right} of {len(now)}", f"{correlation:.3f}", f"{(now * before).sum(-1).mean():.3f}"]


def example(now: Tensor) -> list[str]:
    """Two similarities that everybody can judge."""
    return [f"{now[0] @ now[1]:.2f}", f"{now[0] @ now[2]:.2f}"]


def batches(tokenizer: Tokenizer, steps: int) -> Iterator[dict[str, Tensor]]:
    """Passages of one to four sentences, drawn anew for every step."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        texts = []
        for count in torch.randint(1, 5, (BATCH,), generator=generator).tolist():
            chosen = torch.randperm(len(SENTENCES), generator=generator)[:count].tolist()
            texts.append(" ".join(SENTENCES[k] for k in chosen))
        yield tokenizer(texts)


def task(original: nn.Module) -> Any:
    """The embeddings of the original as the task, since nobody has rated these sentences."""

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            wanted = original(**batch)
        return (1 - (model(**batch) * wanted).sum(-1)).mean()

    return loss


def learners(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of couplers, without gates."""
    return [p for name, p in model.named_parameters() if ".coupler." in name and not name.endswith("gate")]
