"""Every recipe by its name."""

from __future__ import annotations

from functools import partial

from monge import data
from monge.errors import InputError
from monge.registry import Registry

from .model_config import ModelConfig
from .recipe import Recipe
from .schedule_config import ScheduleConfig

__all__ = ["RECIPES", "recipe"]


def _recipes_only(name: str, thing: object) -> None:
    if not isinstance(thing, Recipe):
        raise InputError(f"{name!r} must be a value of monge.sequences.Recipe, but is {thing!r}.")
    if thing.name != name:
        raise InputError(f"The recipe {thing.name!r} must be registered under its own name, but is under {name!r}.")


RECIPES: Registry[Recipe] = Registry("recipe", check=_recipes_only, describe=lambda held: held.about)
"""What ``monge train`` can run."""


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: one of `RECIPES`.

    Raises:
        InputError: there is none of this name, or the package that declares it is broken.

    Example:
        >>> from monge.sequences import recipe
        >>> recipe("listops").schedule.batch
        32
    """
    return RECIPES[name]


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
_SHORT = {"counts": (20_000, 1000, 1000)}

for _recipe in (
    Recipe(
        "digits",
        "handwritten digits, 64 pixels one after the other",
        data.digits,
        ModelConfig(attention_dropout=0.0, pooling="learned", embedding_std=0.3),
        ScheduleConfig(steps=700, batch=32, lr=4e-3, warmup=70, decay="cosine", weight_decay=0.1, evaluate_every=175),
    ),
    Recipe(
        "listops",
        "nested operations on lists of digits, 500 to 2000 tokens",
        data.list_operations,
        _ARENA,
        _PUBLISHED["listops"],
        source="generated",
    ),
    Recipe(
        "listops-short",
        "nested operations on lists of digits, 100 to 400 tokens",
        partial(data.list_operations, lengths=(100, 400), depth=6, **_SHORT),
        schedule=_BRISK,
        source="generated",
    ),
    Recipe(
        "pathfinder",
        "are two discs on one dashed curve? 32 × 32 pixels, curves of 14 dashes",
        data.pathfinder,
        _ARENA,
        _PUBLISHED["pathfinder"],
        source="generated",
    ),
    Recipe(
        "pathfinder-short",
        "are two discs on one dashed curve? 32 × 32 pixels, curves of 6 dashes",
        partial(data.pathfinder, contour=6, **_SHORT),
        schedule=_BRISK,
        source="generated",
    ),
    Recipe(
        "bytes",
        "which library does a text document? 1024 bytes",
        data.byte_text,
        schedule=_BRISK,
    ),
    *(
        Recipe(
            f"lra-{name}",
            f"{name} of the Long Range Arena, from its official files",
            partial(data.long_range_arena, name),
            _ARENA,
            schedule,
            source="official",
        )
        for name, schedule in _PUBLISHED.items()
    ),
):
    RECIPES.register(_recipe.name, _recipe)
