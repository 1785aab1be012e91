"""The public names and their arguments, pinned: a change of any of them is seen, and then told to users.

After a change on purpose, write the file anew: ``python tests/test_signatures.py``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import monge

PINNED = Path(__file__).with_name("signatures.txt")
# Numbers of a machine, and places in memory, that defaults may show.
CHANGING = re.compile(r" at 0x[0-9a-f]+")


def rooms() -> list[str]:
    """Every package of Monge whose names are public, those of slices included."""
    found = pkgutil.walk_packages(monge.__path__, "monge.")
    packages = [module.name for module in found if module.ispkg]
    return sorted(name for name in packages if not any(part.startswith("_") for part in name.split(".")))


def arguments(thing: object) -> str:
    """Names, kinds and defaults of the arguments; types are left to the type checker."""
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    told = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return CHANGING.sub("", told)


def signatures() -> list[str]:
    """One line for each public name, and for each public method of a public class where it is defined."""
    lines = [f"monge.{name}" for name in monge.__all__]
    for room in rooms():
        module = importlib.import_module(room)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.ismodule(thing):
                continue
            lines.append(f"{room}.{name}{arguments(thing)}")
            if not inspect.isclass(thing):
                continue
            for method, held in vars(thing).items():
                if not method.startswith("_") and callable(getattr(held, "__func__", held)):
                    lines.append(f"{room}.{name}.{method}{arguments(getattr(thing, method))}")
    return sorted(lines)


def test_public_names_and_their_arguments_are_those_that_are_pinned() -> None:
    pinned, found = PINNED.read_text().splitlines(), signatures()
    gone, new = sorted(set(pinned) - set(found)), sorted(set(found) - set(pinned))
    assert not gone + new, (
        "The public face has changed. If that is meant, tell users in CHANGELOG.md and run this file as a program.\n"
        + "\n".join([f"- {line}" for line in gone] + [f"+ {line}" for line in new])
    )


def test_a_changed_argument_would_be_seen() -> None:
    def before(x, y, *, epsilon=0.0): ...
    def after(x, y, *, epsilon=0.1): ...

    assert arguments(before) != arguments(after)
    assert arguments(before) == "(x, y, *, epsilon=0.0)"


if __name__ == "__main__":
    PINNED.write_text("\n".join(signatures()) + "\n")
    sys.stdout.write(f"{PINNED.name}: {len(signatures())} lines\n")
