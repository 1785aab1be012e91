"""The lines of the page that translates from POT and GeomLoss are run, and every public name of POT is in a list."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
try:
    from translations import ABSENT, GEOMLOSS, POT, SETUP, table
finally:
    sys.path.remove(str(DOCS))

# Modules that have a public face of their own; the rest are parts of these, or of other wings than transport.
MODULES = (
    *("lp", "bregman", "unbalanced", "partial", "sliced", "gaussian", "smooth", "da", "gromov", "weak", "stochastic"),
    *("lowrank", "factored", "gmm", "coot", "mapping", "optim", "plot", "solvers", "utils", "datasets", "regpath"),
    *("backend", "batch", "bsp", "semidiscrete", "gnn", "sgot", "dr"),
)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    held: dict[str, Any] = {}
    exec(SETUP, held)
    held["tx"], held["ty"] = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    return held


def same(theirs: Any, ours: Any, tol: float) -> None:
    first, second = (np.asarray(side, dtype=float) for side in (theirs, ours))
    assert first.shape == second.shape
    assert np.abs(first - second).max() <= tol * np.abs(second).max()


@pytest.mark.parametrize("line", POT, ids=lambda line: line.theirs[:60])
def test_lines_of_pot(line, names: dict[str, Any]) -> None:
    ours = eval(line.ours, names)
    assert ours is not None
    if line.tol is None:
        return
    ot = pytest.importorskip("ot")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer warns of its own accuracy, which tol states
        theirs = eval(line.theirs, names | {"ot": ot})
    same(theirs, ours, line.tol)


@pytest.mark.parametrize("line", GEOMLOSS, ids=lambda line: line.theirs[:70])
def test_lines_of_geomloss(line, names: dict[str, Any]) -> None:
    ours = eval(line.ours, names)
    assert bool(torch.as_tensor(ours).isfinite())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("geomloss")
        theirs = eval(line.theirs, names | {"SamplesLoss": peer.SamplesLoss})
    same(theirs, ours, line.tol)


def public(module: ModuleType) -> list[str]:
    """What a module of POT offers: its list, or else what it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    defined = inspect.getmembers(module, lambda thing: inspect.isclass(thing) or inspect.isfunction(thing))
    return [name for name, thing in defined if name[0] != "_" and thing.__module__.startswith(module.__name__)]


def listed() -> list[str]:
    held = [line.theirs.split("(")[0].removeprefix("ot.") for line in POT]
    held += [name for line in POT for name in line.also.split()]
    return held + [name for names in ABSENT.values() for name in names.split()]


def test_every_public_name_of_pot_is_in_a_list() -> None:
    ot = pytest.importorskip("ot")
    known, missing = listed(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [(name, name) for name in public(ot)]
        for module in MODULES:
            try:
                held = importlib.import_module(f"ot.{module}")
            except ImportError:  # an older or newer release, or one whose dependencies are not here
                continue
            found += [(f"{module}.{name}", name) for name in public(held)]
    for full, name in found:
        top = full == name and any(one.split(".")[-1] == name for one in known)
        if not top and not any(fnmatchcase(full, one) for one in known):
            missing.append(full)
    assert not missing, f"neither translated nor listed as absent: {missing}"


def test_a_name_that_nobody_listed_is_noticed() -> None:
    assert "lp.something_new" not in listed()
    assert not any(fnmatchcase("lp.something_new", one) for one in listed())


def test_the_page_shows_every_line() -> None:
    shown = table()
    assert all(line.ours.replace("|", "\\|") in shown for line in (*POT, *GEOMLOSS))
    assert "generated/translations.md" in (DOCS / "conventions.md").read_text()
