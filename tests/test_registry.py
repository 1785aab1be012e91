"""Things by name: registered by a call, or declared by an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from monge.errors import ExtensionWarning, InputError
from monge.registry import Registry, check_derived


class Penguin:
    """A bird that swims."""


def birds_only(name: str, thing: object) -> None:
    if not (isinstance(thing, type) and thing.__doc__ and "bird" in thing.__doc__):
        raise InputError(f"{name} is no bird.")


@pytest.fixture
def birds() -> Registry[type]:
    return Registry("test bird", check=birds_only)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a package, as far as the interpreter can tell."""

    def install(name: str, *points: str, code: str = "") -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[monge.test_birds]\n" + "\n".join(points) + "\n")
        (tmp_path / f"{name}.py").write_text(code)

    monkeypatch.syspath_prepend(tmp_path)
    return install


def test_what_is_registered_is_found_in_order(birds):
    assert birds.register("penguin", Penguin) is Penguin
    birds.register("owl", type("Owl", (), {"__doc__": "A bird of the night.\n\nMore."}))
    birds.register("wren", type("Wren", (), {"__doc__": "A bird."}), "It is small.")
    assert list(birds) == ["penguin", "owl", "wren"]
    assert len(birds) == 3
    assert birds["penguin"] is Penguin
    assert "owl" in birds
    assert "crow" not in birds
    assert [birds.sentence(name) for name in birds] == ["A bird that swims.", "A bird of the night.", "It is small."]
    assert dict(birds.items())["penguin"] is Penguin
    assert repr(birds) == "Registry('test bird': penguin, owl, wren)"


def test_a_decorator(birds):
    @birds.register("auk")
    class Auk:
        """A bird too."""

    assert birds["auk"] is Auk


def test_wrong_names_and_things_are_refused(birds):
    birds.register("penguin", Penguin)
    with pytest.raises(InputError, match="called 'penguin' already"):
        birds.register("penguin", Penguin)
    with pytest.raises(InputError, match="cow is no bird"):
        birds.register("cow", int)
    with pytest.raises(InputError, match="must be a word, but is ''"):
        birds.register("", Penguin)
    with pytest.raises(InputError, match=r"test bird='cow' is unknown: choose one of 'penguin'\."):
        birds["cow"]
    with pytest.raises(InputError, match="unknown"):
        birds.sentence("cow")


def test_a_package_is_imported_when_it_is_asked_for(birds, package):
    package("aviary", "heron=aviary:Heron", code='class Heron:\n    """A bird that waits."""\n')
    birds.register("penguin", Penguin)
    assert birds["penguin"] is Penguin
    assert list(birds) == ["penguin", "heron"]
    assert "aviary" not in sys.modules
    assert birds.sentence("heron") == "A bird that waits."
    assert birds["heron"] is sys.modules["aviary"].Heron
    assert list(birds) == ["penguin", "heron"]


def test_a_broken_package_is_named_and_hurts_nobody_else(birds, package):
    package("brokenaviary", "dodo=brokenaviary:Dodo", code="raise OSError('extinct')\n")
    birds.register("penguin", Penguin)
    assert birds["penguin"] is Penguin
    for _ in range(2):
        with pytest.raises(InputError, match=r"'dodo' of the package brokenaviary .*OSError: extinct"):
            birds["dodo"]
    assert list(birds) == ["penguin"]


def test_a_broken_package_is_warned_of_once_where_all_things_are_asked_for(birds, package):
    package("brokenaviary", "dodo=brokenaviary:Dodo", code="raise OSError('extinct')\n")
    birds.register("penguin", Penguin)
    with pytest.warns(ExtensionWarning, match=r"'dodo' of the package brokenaviary .*OSError: extinct") as told:
        assert birds.items() == (("penguin", Penguin),)
    assert len(told) == 1
    assert birds.values() == (Penguin,)
    assert list(birds.faults()) == ["dodo"]


def test_a_package_with_the_wrong_thing_is_refused(birds, package):
    package("farm", "cow=farm:Cow", code="class Cow: pass\n")
    for _ in range(2):
        with pytest.raises(InputError, match=r"'cow' of the package farm cannot be used: cow is no bird"):
            birds["cow"]


def test_a_name_that_is_taken_is_told(birds, package):
    package("copyaviary", "penguin=copyaviary:P", code='class P:\n    """A bird."""\n')
    birds.register("penguin", Penguin)
    assert birds["penguin"] is Penguin
    with pytest.warns(ExtensionWarning, match="copyaviary declares a test bird 'penguin', but there is one"):
        assert birds.values() == (Penguin,)


def test_of_two_packages_with_one_name_neither_is_preferred(birds, package):
    for name in ("oneaviary", "twoaviary"):
        package(name, f"heron={name}:Heron", code='class Heron:\n    """A bird."""\n')
    with pytest.raises(InputError, match=r"(one|two)aviary declares .* of the package (one|two)aviary: rename"):
        birds["heron"]
    assert list(birds) == []


def test_one_package_that_is_found_twice_counts_once(birds, package, tmp_path, monkeypatch):
    package("aviary", "heron=aviary:Heron", code='class Heron:\n    """A bird that waits."""\n')
    again = tmp_path / "again"
    again.mkdir()
    (tmp_path / "aviary-1.0.dist-info").rename(again / "aviary-1.0.dist-info")
    shutil.copytree(again / "aviary-1.0.dist-info", tmp_path / "aviary-1.1.dist-info")
    monkeypatch.syspath_prepend(again)
    assert list(birds) == ["heron"]
    assert birds.faults() == {}


def test_what_a_package_declares_is_not_replaced(birds, package):
    package("aviary", "heron=aviary:Heron", code='class Heron:\n    """A bird that waits."""\n')
    assert list(birds) == ["heron"]
    with pytest.raises(InputError, match="called 'heron' already"):
        birds.register("heron", Penguin)


@pytest.mark.parametrize(
    ("kind", "group"),
    [("coupler", "monge.couplers"), ("penalty", "monge.penalties"), ("test bird", "monge.test_birds")],
)
def test_groups_are_plurals(kind, group):
    assert Registry(kind).group == group


class Flier(ABC):
    """What flies."""

    @abstractmethod
    def fly(self): ...


def test_classes_of_a_base_are_asked_for_all_of_it():
    class Kiwi(Flier):
        """Cannot."""

    class Swift(Flier):
        """Can."""

        def fly(self):
            """On and on."""

    check_derived("swift", Swift, Flier, "birds.Flier")
    with pytest.raises(InputError, match=r"Kiwi lacks fly: write all that birds\.Flier asks for"):
        check_derived("kiwi", Kiwi, Flier, "birds.Flier")
    for wrong in (Penguin, Swift(), "swift"):
        with pytest.raises(InputError, match=r"'bird' must be a class that derives from birds\.Flier, but is"):
            check_derived("bird", wrong, Flier, "birds.Flier")


def test_importing_the_library_reads_no_entry_points():
    code = "import torch\nimport importlib.metadata as m\nm.entry_points = None\nimport monge.nn"
    subprocess.run([sys.executable, "-c", code], check=True)
