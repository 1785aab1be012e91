"""Poolings and recipes from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monge.data import FORMATS, read_points
from monge.errors import InputError
from monge.sequences import POOLINGS, RECIPES, Classifier, ModelConfig, Pooling, fit, recipe

from .toy import MODEL, SCHEDULE, toy


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (POOLINGS, RECIPES, FORMATS):
        for state in ("_held", "_sentences"):
            monkeypatch.setattr(registry, state, dict(getattr(registry, state)))


class Largest(Pooling):
    """The largest of every channel."""

    class_token = True

    def _pool(self, x, padding):
        return x.amax(-2)


def test_a_pooling_by_its_name() -> None:
    POOLINGS.register("largest", Largest)
    config = replace(MODEL, pooling="largest")
    model = Classifier(6, 2, 9, config, coupler="softmax")
    assert model.encoder.summary is not None
    torch.testing.assert_close(model.encoder.pooling(torch.tensor([[[1.0], [5.0]]]), None), torch.tensor([[5.0]]))
    assert fit(toy(), "softmax", model=config, schedule=SCHEDULE).result.accuracy >= 0


def test_what_is_no_pooling() -> None:
    with pytest.raises(InputError, match=r"must be a class that derives from monge\.sequences\.Pooling"):
        POOLINGS.register("largest", torch.nn.Identity)
    with pytest.raises(InputError, match="pooling='largest' is unknown: choose one of 'mean', 'padded-mean'"):
        ModelConfig(pooling="largest")


def test_a_recipe_has_its_own_name() -> None:
    RECIPES.register("mine", replace(RECIPES["digits"], name="mine", about="Digits again."))
    assert recipe("mine").schedule == RECIPES["digits"].schedule
    assert RECIPES.sentence("mine") == "Digits again."
    with pytest.raises(InputError, match="must be registered under its own name, but is under 'other'"):
        RECIPES.register("other", RECIPES["digits"])
    with pytest.raises(InputError, match=r"must be a value of monge\.sequences\.Recipe"):
        RECIPES.register("other", toy)
    with pytest.raises(InputError, match="recipe='other' is unknown"):
        recipe("other")


def test_a_format_by_its_ending(tmp_path) -> None:
    path = tmp_path / "cloud.xyz"
    path.write_text("1 2\n3 4\n")
    with pytest.raises(InputError, match="the formats known are"):
        read_points(path)

    @FORMATS.register(".xyz")
    def read(path, key):
        """Numbers with spaces between them."""
        return torch.tensor([list(map(float, line.split())) for line in path.read_text().splitlines()])

    assert read_points(path).tolist() == [[1.0, 2.0], [3.0, 4.0]]
