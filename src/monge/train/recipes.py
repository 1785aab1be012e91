"""Every recipe by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .. import data
from .._checks import check_choice
from ..data import Task
from .model_config import ModelConfig
from .recipe import Recipe
from .schedule_config import ScheduleConfig

__all__ = ["RECIPES", "recipe"]


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: one of ``RECIPES``.

    Raises:
        InputError: there is none of this name.

    Example:
        >>> from monge.train import recipe
        >>> recipe("listops").schedule.batch
        32
    """
    check_choice("recipe", name, RECIPES)
    return RECIPES[name]


def _official(name: str) -> Callable[[Path | None], Task]:
    return lambda folder: data.long_range_arena(name, folder)


# The settings of the published tables of small models on the Long Range Arena (Nyströmformer, arXiv 2102.03902).
_PUBLISHED = {
    "listops": ScheduleConfig(steps=5000, batch=32, lr=1e-4, warmup=1000, evaluate_every=250, bucket=True),
    "text": ScheduleConfig(steps=20_000, batch=32, lr=1e-4, warmup=8000, evaluate_every=500, bucket=True),
    "retrieval": ScheduleConfig(steps=30_000, batch=32, lr=1e-4, warmup=800, evaluate_every=1000, bucket=True),
    "image": ScheduleConfig(steps=35_000, batch=256, lr=1e-4, warmup=175, evaluate_every=500),
    "pathfinder": ScheduleConfig(steps=62_400, batch=256, lr=1e-4, warmup=312, evaluate_every=500),
}
_ARENA = ModelConfig(pooling="padded-mean")
_BRISK = ScheduleConfig(steps=3000, batch=32, lr=5e-4, warmup=300, decay="cosine", evaluate_every=250, bucket=True)

RECIPES = {
    made.name: made
    for made in (
        Recipe(
            "digits",
            "handwritten digits, 64 pixels one after the other",
            lambda folder: data.digits(),
            ModelConfig(dropout=0.0, attention_dropout=0.0),
            ScheduleConfig(
                steps=600, batch=32, lr=3e-3, warmup=60, decay="cosine", weight_decay=0.01, evaluate_every=50
            ),
        ),
        Recipe(
            "listops",
            "nested operations on lists of digits, up to 2000 tokens",
            lambda folder: data.list_operations(folder=folder),
            _ARENA,
            _PUBLISHED["listops"],
        ),
        Recipe(
            "listops-short",
            "the same with 100 to 400 tokens",
            lambda folder: data.list_operations(
                lengths=(100, 400), depth=6, counts=(20_000, 1000, 1000), folder=folder
            ),
            schedule=_BRISK,
        ),
        Recipe(
            "pathfinder",
            "are two dots on one dashed curve? 32 × 32 pixels, long curves",
            lambda folder: data.pathfinder(folder=folder),
            _ARENA,
            _PUBLISHED["pathfinder"],
        ),
        Recipe(
            "pathfinder-short",
            "the same with short curves",
            lambda folder: data.pathfinder(contour=6, counts=(20_000, 1000, 1000), folder=folder),
            schedule=_BRISK,
        ),
        Recipe(
            "bytes",
            "classes of texts, read byte by byte",
            lambda folder: data.byte_text(),
            schedule=_BRISK,
        ),
        *(
            Recipe(
                f"lra-{name}",
                f"{name} of the Long Range Arena, from its official files",
                _official(name),
                _ARENA,
                schedule,
                official=True,
            )
            for name, schedule in _PUBLISHED.items()
        ),
    )
}
