"""How long a training step takes, by the number of tokens: the same digits, enlarged, under two attentions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from monge.data import digits
from monge.sequences import Classifier, ModelConfig

__all__ = ["LENGTHS", "race"]

LENGTHS = (64, 256, 1024, 4096)
_BATCH, _ROUNDS = 2, 3


def race(model: ModelConfig, couplers: Sequence[str], lengths: Sequence[int]) -> dict[int, dict[str, float]]:
    """Seconds of a forward and a backward pass of two digits: the median of rounds in which the couplers take turns.

    Args:
        model: The classifier, which the couplers share.
        couplers: Names of the attentions.
        lengths: How many tokens a digit has.

    Returns:
        For each length, the seconds of each coupler.
    """
    taken: dict[int, dict[str, float]] = {}
    for length in lengths:
        task = digits(length=length)
        tokens, labels = task.train.tokens[:_BATCH].long(), task.train.labels[:_BATCH]
        rivals = {name: Classifier(task.vocabulary, task.classes, length, model, coupler=name) for name in couplers}
        seconds: dict[str, list[float]] = {name: [] for name in couplers}
        for number in range(_ROUNDS + 1):
            for name, rival in rivals.items():
                start = time.perf_counter()
                torch.nn.functional.cross_entropy(rival(tokens), labels).backward()
                # The first round warms up.
                if number:
                    seconds[name].append(time.perf_counter() - start)
        taken[length] = {name: statistics.median(held) for name, held in seconds.items()}
    return taken
